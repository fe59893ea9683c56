"""The life of every claim in a trace, step by step: the transition table, fixed fields, and who may be named when."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from residentkv.contract.claim import ClaimEvent, ClaimState, ProtectionMode, advance
from residentkv.contract.errors import ClaimStateError
from residentkv.contract.events import CLAIM_FIELDS, Event

# What a claim is; it is fixed when the claim is submitted.
_FIXED_FIELDS: Final = CLAIM_FIELDS[: CLAIM_FIELDS.index("lifecycle_generation")]
_TRANSITIONS: Final[dict[str, ClaimEvent]] = {
    "resident_claim_accepted": ClaimEvent.ACCEPT,
    "resident_claim_rejected": ClaimEvent.REJECT,
    "resident_claim_materialized": ClaimEvent.MATERIALIZE,
    "resident_claim_offloaded": ClaimEvent.OFFLOAD,
    "resident_claim_restored": ClaimEvent.RESTORE,
    "resident_claim_demoted": ClaimEvent.DEMOTE,
    "resident_claim_expired": ClaimEvent.EXPIRE,
    "resident_claim_released": ClaimEvent.RELEASE,
    "resident_claim_harmed": ClaimEvent.HARM,
}
_PROTECTING: Final = frozenset({ClaimState.ACCEPTED, ClaimState.MATERIALIZED, ClaimState.RESTORING})
_PROTECTING_MODES: Final = frozenset(mode.value for mode in ProtectionMode if mode.is_protecting)


@dataclass(slots=True)
class Life:
    """What is known of one claim id; `positions` by physical block, of blocks not lost since."""

    submitted: Event
    state: ClaimState = ClaimState.SUBMITTED
    generation: int | None = None
    num_accepted: int = 0
    offload_generation: int = 0
    positions: dict[int, int] = field(default_factory=dict)

    @property
    def is_protecting(self) -> bool:
        """Whether its footprint belongs to P."""
        return self.state in _PROTECTING and self.submitted.get("protection_mode") in _PROTECTING_MODES


class ClaimLives:
    """Follows the claims of a trace. Memory: the claims and their blocks. Each step yields what is wrong with it."""

    def __init__(self) -> None:
        self._lives: dict[str, Life] = {}
        self._owners: dict[int, set[str]] = {}  # by physical block: claims that said it is theirs
        self._protecting: set[str] = set()

    def take(self, name: str, event: Event) -> Iterator[str]:
        """Take a claim event; `name` has aliases replaced."""
        claim_id = event["claim_id"]
        yield from self._step(name, claim_id, event)
        life = self._lives.get(claim_id)
        (self._protecting.add if life is not None and life.is_protecting else self._protecting.discard)(claim_id)

    def _step(self, name: str, claim_id: str, event: Event) -> Iterator[str]:
        if name == "resident_claim_submitted":
            yield from self._submit(claim_id, event)
            return
        life = self._lives.get(claim_id)
        if life is None:
            yield f"claim {claim_id!r} was never submitted"
            return
        changed = [fixed for fixed in _FIXED_FIELDS if event.get(fixed) != life.submitted.get(fixed)]
        if changed:
            yield f"claim {claim_id!r} changes {', '.join(changed)}"
        if name in _TRANSITIONS:
            yield from self._transition(life, name, event)
        elif step := _STEPS.get(name):
            yield from step(life, event)
        if name == "resident_block_materialized":
            self._owners.setdefault(event["physical_block_id"], set()).add(claim_id)
        if life.generation is not None and event.get("lifecycle_generation") not in (life.generation, None):
            yield f"lifecycle_generation is {event['lifecycle_generation']}, this life is {life.generation}"

    def evict(self, event: Event) -> Iterator[str]:
        """Take an eviction."""
        block = event["physical_block_id"]
        if event["is_protected_resident"] is not False:
            yield f"block {block} is a victim although protected"
        for claim_id in sorted(self._owners.pop(block, ())):
            life = self._lives[claim_id]
            life.positions.pop(block, None)
            if life.is_protecting:
                yield f"block {block} is a victim although claim {claim_id!r} protects it"

    def decide(self, event: Event) -> Iterator[str]:
        """Take a decision about a request: the claims it names must stand. O(claims that protect, if it lists them)."""
        named = event.get("protected_resident_claims")
        if named is not None and set(named) != self._protecting:
            odd = sorted(self._protecting ^ set(named))
            yield f"protected_resident_claims and the claims that stand differ by {', '.join(odd)[:200]}"
        if event.get("feasibility") == "infeasible_restore_claimed_kv":
            return  # claims whose restoration failed may have ended since
        for claim_id in event.get("blocking_claim_ids") or ():
            if claim_id not in self._protecting:
                yield f"blocked by claim {claim_id!r}, which protects nothing"

    def _submit(self, claim_id: str, event: Event) -> Iterator[str]:
        earlier = self._lives.get(claim_id)
        if earlier is not None and not earlier.state.is_final:
            yield f"claim {claim_id!r} is submitted while {earlier.state.value}"
        for block in earlier.positions if earlier is not None else ():
            self._owners.get(block, set()).discard(claim_id)
        num_accepted = 0 if earlier is None else earlier.num_accepted
        self._lives[claim_id] = Life(submitted=event, num_accepted=num_accepted)

    def _transition(self, life: Life, name: str, event: Event) -> Iterator[str]:
        step = _TRANSITIONS[name]
        try:
            life.state = advance(life.state, step)
        except ClaimStateError as error:
            yield f"claim {event['claim_id']!r}: {error}"
            return
        if step is ClaimEvent.ACCEPT:
            life.num_accepted += 1
            life.generation = event.get("lifecycle_generation")
            if life.generation != life.num_accepted:
                yield f"lifecycle_generation is {life.generation} at acceptance {life.num_accepted} in this trace"
        elif step is ClaimEvent.OFFLOAD:
            life.offload_generation += 1
            if event.get("offload_generation") != life.offload_generation:
                yield f"offload_generation is {event.get('offload_generation')} at offload {life.offload_generation}"
        elif step in (ClaimEvent.MATERIALIZE, ClaimEvent.RESTORE):
            if event.get("predicate_materialized") is not True:
                yield f"claim {event['claim_id']!r} is {life.state.value} while its predicate is false"
        elif step is ClaimEvent.HARM and event.get("predicate_after") is not False:
            yield f"claim {event['claim_id']!r} is harmed while its predicate is true"


def _gain(life: Life, event: Event) -> Iterator[str]:
    if life.state is ClaimState.SUBMITTED or life.state.is_final:
        yield f"claim {event['claim_id']!r} gains a block while {life.state.value}"
    life.positions[event["physical_block_id"]] = event["logical_block_position"]


def _preserve(life: Life, event: Event) -> Iterator[str]:
    if life.state is not ClaimState.MATERIALIZED or event.get("predicate_materialized") is not True:
        yield f"claim {event['claim_id']!r} is called preserved while {life.state.value}"


def _lose(life: Life, event: Event) -> Iterator[str]:
    if not life.state.is_final:
        yield f"claim {event['claim_id']!r} lost a block after its end while {life.state.value}"


def _require_restore(life: Life, event: Event) -> Iterator[str]:
    if life.state is ClaimState.OFFLOADED:
        life.state = advance(life.state, ClaimEvent.BEGIN_RESTORE)
    elif life.state is not ClaimState.RESTORING:
        yield f"claim {event['claim_id']!r} must be restored while {life.state.value}"


def _reuse(life: Life, event: Event) -> Iterator[str]:
    if life.state is not ClaimState.MATERIALIZED or life.offload_generation == 0:
        yield f"claim {event['claim_id']!r} is reused after a restore while {life.state.value}"


def _fail_restore(life: Life, event: Event) -> Iterator[str]:
    if event.get("outcome_claim_id") != event["claim_id"]:
        yield f"the failure of claim {event['claim_id']!r} names {event.get('outcome_claim_id')!r:.80}"
    if life.state is not ClaimState.RESTORING:
        yield f"claim {event['claim_id']!r} fails to be restored while {life.state.value}"
    elif event.get("claim_scoped_outcome_type") == "refusal":
        life.state = advance(life.state, ClaimEvent.ABANDON_RESTORE)


_STEPS: Final[dict[str, Callable[[Life, Event], Iterator[str]]]] = {
    "resident_block_materialized": _gain,
    "resident_claim_preserved": _preserve,
    "resident_claim_block_lost_after_release": _lose,
    "resident_claim_restore_required": _require_restore,
    "resident_claim_reuse_after_restore": _reuse,
    "resident_claim_restoration_failed": _fail_restore,
}
