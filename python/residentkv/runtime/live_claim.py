"""One accepted claim as Python knows it, and what callers see of it."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from residentkv import _core
from residentkv.contract.claim import ClaimAction, ClaimSpec, ClaimState, Duration, ProtectionMode
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import Predicate

NEVER = -1
_LATEST: Final = 2**63 - 1  # the core's clocks count in 64 bits


class Deadline(NamedTuple):
    """Absolute points on the manager's three clocks; NEVER where there is none."""

    step: int = NEVER
    allocations: int = NEVER
    nanoseconds: int = NEVER

    @classmethod
    def after(cls, duration: Duration | None, counts: _core.Counts, now_ns: int) -> "Deadline":
        """The deadline of a claim that starts, or starts anew, now."""
        if duration is None:
            return cls()
        return cls(
            _later(counts.num_steps_planned, duration.steps),
            _later(counts.num_allocations, duration.allocations),
            _later(now_ns, duration.nanoseconds),
        )

    def is_past(self, counts: _core.Counts, now_ns: int) -> bool:
        """Whether any of the three was reached."""
        return (
            0 <= self.step <= counts.num_steps_planned
            or 0 <= self.allocations <= counts.num_allocations
            or (self.nanoseconds != NEVER and self.nanoseconds <= now_ns)
        )


def _later(now: int, limit: int | None) -> int:
    return NEVER if limit is None else min(now + limit, _LATEST)


class LiveClaim:
    """An accepted claim that has not ended. Its tokens live in the native index only.

    Attributes
    ----------
    number : the native core's number of this life of the claim.
    charged_blocks : footprint blocks that count against the owner's quota; 0 unless the mode protects.
    revision : of the last renewal; 0 is the submission itself.
    """

    __slots__ = (
        "actions",
        "charged_blocks",
        "claim_id",
        "deadline",
        "duration",
        "expected_value",
        "generation",
        "identity",
        "mode",
        "number",
        "owner_scope",
        "predicate",
        "revision",
        "state",
    )

    def __init__(self, spec: ClaimSpec, number: int, generation: int, deadline: Deadline) -> None:
        self.number = number
        self.claim_id = spec.claim_id
        self.owner_scope = spec.owner_scope
        self.identity = spec.cache_identity
        self.predicate = spec.predicate
        self.mode = spec.mode
        self.actions = spec.permitted_actions
        self.expected_value = spec.expected_value
        self.charged_blocks = spec.num_footprint_blocks if spec.mode.is_protecting else 0
        self.duration = spec.duration
        self.deadline = deadline
        self.revision = 0
        self.generation = generation
        self.state = ClaimState.ACCEPTED


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A live claim at one moment. Counts are blocks.

    Parameters
    ----------
    revision : of the last renewal; 0 is the submission.
    deadline : absolute: planned steps, allocations and clock nanoseconds at which it is due; -1 where there is none.
    surviving_blocks : computed blocks of the footprint.
    leading_blocks : computed blocks before the first that is not.
    predicate_true : whether the claim is materialized.
    """

    claim_id: str
    owner_scope: str
    cache_identity: CacheIdentity
    mode: ProtectionMode
    allowed_actions: tuple[ClaimAction, ...]
    predicate: Predicate
    state: ClaimState
    lifecycle_generation: int
    revision: int
    duration: Duration | None
    deadline: Deadline
    footprint_blocks: int
    surviving_blocks: int
    leading_blocks: int
    predicate_true: bool


def view_of(claim: LiveClaim, facts: _core.ClaimFacts) -> ClaimView:
    """What callers see of a claim."""
    return ClaimView(
        claim_id=claim.claim_id,
        owner_scope=claim.owner_scope,
        cache_identity=claim.identity,
        mode=claim.mode,
        allowed_actions=claim.actions,
        predicate=claim.predicate,
        state=claim.state,
        lifecycle_generation=claim.generation,
        revision=claim.revision,
        duration=claim.duration,
        deadline=claim.deadline,
        footprint_blocks=facts.footprint_blocks,
        surviving_blocks=facts.surviving_blocks,
        leading_blocks=facts.leading_blocks,
        predicate_true=facts.predicate_true,
    )
