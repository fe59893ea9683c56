"""What to do to which claims when a demand does not fit: a pure function of a snapshot.

The snapshot carries sequences that the runtime already has; a claim costs Python work here only if it declared a
value or permits an action, so a conflict with thousands of hard claims costs little more than one with a few.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from heapq import nsmallest
from typing import Final

from residentkv.contract.claim import ClaimAction

ClaimKey = int  # the runtime's number of an accepted claim


class RelaxOrder(str, Enum):
    """Which claims give way first."""

    LEAST_VALUE = (
        "least_value"  # lowest predicted_value * confidence; claims without a prediction last, by blocks in the way
    )
    MOST_BLOCKS = "most_blocks"  # most blocks in the way, so few claims are touched


@dataclass(frozen=True, slots=True)
class ArbiterPolicy:
    """How conflicts are settled.

    Parameters
    ----------
    name : what events report as `policy`.
    actions : actions the runtime may take on claims that permit them; empty defers or refuses every conflict.
    order : which claims give way first.
    """

    name: str = "relax_least_value"
    actions: tuple[ClaimAction, ...] = tuple(ClaimAction)
    order: RelaxOrder = RelaxOrder.LEAST_VALUE


RELAX_LEAST_VALUE: Final = ArbiterPolicy()
PRESERVE_CLAIMS: Final = ArbiterPolicy(name="preserve_claims", actions=())


@dataclass(frozen=True, slots=True)
class ConflictSnapshot:
    """One demand that does not fit, and the claims around it.

    Parameters
    ----------
    blocking : claims in the way, by blocks in the way descending, then by acceptance. Plain ints are fastest.
    values : predicted_value * confidence of the accepted claims that declared one.
    actions : for each accepted claim that permits any, the actions possible now, in its order of preference.
    sufficient : given claims in order, an inclusion-minimal subset whose end admits the demand (add in order until it
        fits, then drop in reverse what is not needed); empty if all of them do not suffice. Must change nothing.
    """

    blocking: Sequence[ClaimKey]
    values: Mapping[ClaimKey, float]
    actions: Mapping[ClaimKey, Sequence[ClaimAction]]
    sufficient: Callable[[Sequence[ClaimKey]], Sequence[ClaimKey]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer.

    Parameters
    ----------
    actions : what to do, in order, so that the demand fits; empty if nothing permitted helps.
    sufficient : claims whose end would admit the demand, permitted or not: what the conflict record names.
    """

    actions: tuple[tuple[ClaimKey, ClaimAction], ...]
    sufficient: tuple[ClaimKey, ...]


def arbitrate(snapshot: ConflictSnapshot, policy: ArbiterPolicy) -> Plan:
    """Choose the fewest, least valuable claims to act on, or none.

    Claims are acted on only if that admits the demand: ending a claim and refusing the request anyway serves nobody.
    Most conflicts are settled by a few claims, so the first few in order are tried first; claims are added in order
    until the demand fits, so if those suffice, the rest changes nothing. Then O(b) for b blocking claims, otherwise
    O(b log b), plus at most four calls of `sufficient`.
    """
    actions: tuple[tuple[ClaimKey, ClaimAction], ...] = ()
    sufficient: Sequence[ClaimKey] = ()
    for ordered in _orders(snapshot, policy.order):
        if not sufficient:
            sufficient = snapshot.sufficient(ordered)
        if not actions:
            chosen = _permitted(ordered, snapshot.actions, policy.actions)
            relaxed = snapshot.sufficient(list(chosen)) if chosen else ()
            actions = tuple((claim, chosen[claim]) for claim in relaxed)
        if sufficient and (actions or not snapshot.actions or not policy.actions):
            break
    return Plan(actions=actions, sufficient=tuple(sufficient))


_FEW: Final = 64
_UNVALUED: Final = math.inf  # declared values are finite


def _orders(snapshot: ConflictSnapshot, order: RelaxOrder) -> Iterator[Sequence[ClaimKey]]:
    """The first few blocking claims in the policy's order, then all of them."""
    blocking, values = snapshot.blocking, snapshot.values
    if not blocking:
        return
    by_value = order is RelaxOrder.LEAST_VALUE and bool(values)

    def worth(claim: ClaimKey) -> float:
        return values.get(claim, _UNVALUED)

    # Both ways of sorting leave equal keys as they were: in blocking order.
    if len(blocking) > _FEW:
        yield nsmallest(_FEW, blocking, key=worth) if by_value else blocking[:_FEW]
    yield sorted(blocking, key=worth) if by_value else blocking


def _permitted(
    ordered: Sequence[ClaimKey],
    actions: Mapping[ClaimKey, Sequence[ClaimAction]],
    allowed: tuple[ClaimAction, ...],
) -> dict[ClaimKey, ClaimAction]:
    """Pick the first action each claim permits among `allowed`, in the given order of claims."""
    # `allowed` is a tuple: membership compares identities there, a set would hash every enum member in Python.
    chosen: dict[ClaimKey, ClaimAction] = {}
    if actions and allowed:
        for claim in ordered:
            for action in actions.get(claim, ()):
                if action in allowed:
                    chosen[claim] = action
                    break
    return chosen
