"""One life of one claim, event by event: the walk that the offload gate judges by."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from residentkv.conformance.gates.evidence import Evidence, count_of, names_in
from residentkv.contract.claim import ClaimEvent, ClaimState, advance
from residentkv.contract.errors import ClaimStateError, ContractError
from residentkv.contract.predicate import LeadingPrefix, parse_predicate


class Requirement(str, Enum):
    """What a full pass needs, in the order in which it is reported."""

    ACCEPTED = "pre_registered_accepted_claim"
    STABLE_CLAIM = "stable_claim_id_and_fixed_materialization_predicate"
    REUSABLE_OBJECT = "reusable_object_id"
    FIXED_IDENTITY = "fixed_cache_identity_and_deterministic_request_token_map"
    MATERIALIZED = "materialization_predicate"
    RESTORABLE = "offload_restorability"
    FAILURE_OUTCOME = "restoration_failure_outcome"
    ORDER = "ordered_lifecycle_events"


_SUCCESS: Final = ("offloaded", "restore_required", "restored", "reuse_after_restore")
_FAILURE: Final = ("second_offloaded", "second_restore_required", "restoration_failed", "outcome")
ROLES: Final = ("accepted", "materialized", *_SUCCESS, *_FAILURE)

_OUTCOME_EVENTS: Final = {
    "refusal": "active_request_refused",
    "demotion": "resident_claim_demoted",
    "expiry": "resident_claim_expired",
    "harm": "resident_claim_harmed",
    "release": "resident_claim_released",
}
_ENDINGS: Final = {
    "resident_claim_demoted": ClaimEvent.DEMOTE,
    "resident_claim_expired": ClaimEvent.EXPIRE,
    "resident_claim_released": ClaimEvent.RELEASE,
    "resident_claim_harmed": ClaimEvent.HARM,
}


class LifeWalk:
    """Follows a claim through the transitions of contract.md section 3 and notes what is shown and what is broken.

    Two kinds of findings: what must be there once (a whole success, then a whole failure) and what must hold every time
    (no restore from anywhere but the tier, no failure without its outcome, no step that the table does not have).

    Parameters
    ----------
    has_failed_for : whether a restoration of some claim failed for the request of some refusal.
    """

    def __init__(self, claim_id: str, has_failed_for: Callable[[str, Evidence], bool]) -> None:
        self.evidence: dict[str, Evidence] = {}
        self._claim_id = claim_id
        self._has_failed_for = has_failed_for
        self._state = ClaimState.SUBMITTED
        self._broken: set[Requirement] = set()
        self._num_events = 0
        self._num_offloads = 0
        self._generation = -1
        self._chain: dict[str, Evidence] = {}  # the events of this offload generation, by role of the success
        self._chain_is_proper = False
        self._pending: Evidence | None = None  # a failure whose outcome must come next
        self._may_refuse = False  # a failure ended the claim: the waiting request is refused once
        self._restored = self._failed = self._is_complete = False

    def take(self, event: Evidence) -> None:
        """Take the next event in order."""
        self._num_events += 1
        if self._pending is not None and event.name != self._expected_outcome():
            self._settle(None)
        if event.name == "active_request_refused":
            self._refused(event)
        elif event.claim_id != self._claim_id:  # somebody else's failure, put on this claim
            self._broken |= {Requirement.FAILURE_OUTCOME}
        else:
            _STEPS[event.name](self, event)

    def missing(self) -> set[Requirement]:
        """What the life does not show, once its last event was taken."""
        if self._pending is not None:
            self._settle(None)
        if "reuse_after_restore" not in self.evidence:
            self.evidence.update(self._chain)  # how far it came
        shown = {
            Requirement.ACCEPTED: "accepted" in self.evidence,
            Requirement.STABLE_CLAIM: True,
            Requirement.MATERIALIZED: "materialized" in self.evidence,
            Requirement.RESTORABLE: self._restored,
            Requirement.FAILURE_OUTCOME: self._failed,
            Requirement.ORDER: self._is_complete,
        }
        return self._broken | {requirement for requirement, is_shown in shown.items() if not is_shown}

    def accept(self, event: Evidence) -> None:
        """The claim comes into being; nothing about it comes earlier, and only one acceptance."""
        if "accepted" in self.evidence:
            self._broken.add(Requirement.STABLE_CLAIM)
        elif self._num_events > 1 or event.fields.get("claim_registration") != "pre_registered":
            self._broken.add(Requirement.ACCEPTED)
        self.evidence.setdefault("accepted", event)
        self._move(ClaimEvent.ACCEPT, ClaimState.ACCEPTED)

    def materialize(self, event: Evidence) -> None:
        """The predicate is true; saying so again later is harmless."""
        if self._state is not ClaimState.MATERIALIZED:
            self._move(ClaimEvent.MATERIALIZE, ClaimState.MATERIALIZED)
        if not event.is_true("predicate_materialized") or _contradicts_itself(event):
            self._broken.add(Requirement.MATERIALIZED)
        self.evidence.setdefault("materialized", event)

    def offload(self, event: Evidence) -> None:
        """A new offload generation begins."""
        self._move(ClaimEvent.OFFLOAD, ClaimState.OFFLOADED)
        generation = count_of(event.fields.get("offload_generation"))
        if generation is not None and generation <= self._generation:
            self._broken.add(Requirement.ORDER)
        self._num_offloads += 1
        self._generation = -1 if generation is None else generation
        self._chain = {"offloaded": event}
        self._chain_is_proper = generation is not None and _moves(event, "gpu_kv_cache", "host_offload_tier")

    def require_restore(self, event: Evidence) -> None:
        """Reuse asks for what is on the tier; several requests may ask for the same restore."""
        if self._state is not ClaimState.RESTORING:
            self._move(ClaimEvent.BEGIN_RESTORE, ClaimState.RESTORING)
        self._link("restore_required", event, is_proper=event.is_true("reuse_requires_restoration"))

    def restore(self, event: Evidence) -> None:
        """The content is back. A restore from anywhere but the tier is a recompute that calls itself one."""
        self._move(ClaimEvent.RESTORE, ClaimState.MATERIALIZED)
        is_proper = (
            event.is_true("restored_from_offload_tier")
            and event.fields.get("restoration_source") == "offload_tier"
            and _moves(event, "host_offload_tier", "gpu_kv_cache")
            and self._is_of_this_generation(event)
        )
        if not is_proper:
            self._broken.add(Requirement.RESTORABLE)
        self._link("restored", event, is_proper=is_proper)

    def reuse(self, event: Evidence) -> None:
        """A request used the restored blocks: only after the restore, in the same generation."""
        if self._state is not ClaimState.MATERIALIZED or "restored" not in self._chain:
            self._broken |= {Requirement.ORDER, Requirement.RESTORABLE}
            return
        is_proper = event.is_true("predicate_satisfied") and not _contradicts_itself(event)
        self._link("reuse_after_restore", event, is_proper=is_proper)
        if self._restored or not all(role in self._chain for role in _SUCCESS):
            return
        self._restored = self._chain_is_proper
        self.evidence.update(self._chain)

    def fail(self, event: Evidence) -> None:
        """A restore failed; the outcome that it names must come next."""
        if self._state is not ClaimState.RESTORING:
            self._broken.add(Requirement.ORDER)
        if not self._is_of_this_generation(event):
            self._broken.add(Requirement.FAILURE_OUTCOME)
        self._pending = event
        if self._expected_outcome() is None or event.fields.get("outcome_claim_id") != self._claim_id:
            self._settle(None)
        elif self._expected_outcome() == "active_request_refused":
            self._state = ClaimState.OFFLOADED

    def end(self, event: Evidence) -> None:
        """Demoted, expired, released or harmed: by itself, or as the outcome of a failure."""
        ending = _ENDINGS[event.name]
        self._move(ending, ClaimState.HARMED if ending is ClaimEvent.HARM else ClaimState.RELEASED)
        if self._pending is not None:
            self._may_refuse = True
            self._settle(event if event.fields.get("outcome_claim_id") == self._claim_id else None)
        elif event.fields.get("outcome_claim_id") not in (None, self._claim_id):
            self._broken.add(Requirement.FAILURE_OUTCOME)

    def _refused(self, event: Evidence) -> None:
        if self._pending is None:
            if not self._may_refuse:
                self._broken |= {Requirement.ORDER, Requirement.FAILURE_OUTCOME}
            self._may_refuse = False
            return
        self._settle(event, is_proper=self._names_only_failed_claims(event))

    def _names_only_failed_claims(self, event: Evidence) -> bool:
        assert self._pending is not None
        blocking = names_in(event.fields.get("blocking_claim_ids"))
        return (
            blocking is not None
            and self._claim_id in blocking
            and event.claim_id in (None, self._claim_id)
            and event.fields.get("request_id") == self._pending.fields.get("request_id")
            and all(name == self._claim_id or self._has_failed_for(name, event) for name in blocking)
        )

    def _settle(self, outcome: Evidence | None, *, is_proper: bool = True) -> None:
        """The pending failure has its outcome, or (None) will not get one."""
        failure, self._pending = self._pending, None
        assert failure is not None
        if outcome is None or not is_proper:
            self._broken.add(Requirement.FAILURE_OUTCOME)
        if outcome is None or self._num_offloads < 2 or "restore_required" not in self._chain:
            return
        self._failed = self._failed or (is_proper and self._chain_is_proper)
        self._is_complete = self._is_complete or "reuse_after_restore" in self.evidence
        found = (self._chain["offloaded"], self._chain["restore_required"], failure, outcome)
        self.evidence.update((role, event) for role, event in zip(_FAILURE, found, strict=True))

    def _link(self, role: str, event: Evidence, *, is_proper: bool) -> None:
        if self._chain:
            self._chain.setdefault(role, event)
        self._chain_is_proper = self._chain_is_proper and is_proper and self._is_of_this_generation(event)

    def _is_of_this_generation(self, event: Evidence) -> bool:
        generation = event.fields.get("offload_generation")
        return generation is None or (count_of(generation) is not None and generation == self._generation)

    def _expected_outcome(self) -> str | None:
        assert self._pending is not None
        outcome: Any = self._pending.fields.get("claim_scoped_outcome_type")
        return _OUTCOME_EVENTS.get(outcome) if type(outcome) is str else None

    def _move(self, step: ClaimEvent, otherwise: ClaimState) -> None:
        """Advance by the table; a step it does not have breaks the order and leads where the event says."""
        try:
            self._state = advance(self._state, step)
        except ClaimStateError:
            self._broken.add(Requirement.ORDER)
            self._state = otherwise


_STEPS: Final[dict[str, Callable[[LifeWalk, Evidence], None]]] = {
    "resident_claim_accepted": LifeWalk.accept,
    "resident_claim_materialized": LifeWalk.materialize,
    "resident_claim_offloaded": LifeWalk.offload,
    "resident_claim_restore_required": LifeWalk.require_restore,
    "resident_claim_restored": LifeWalk.restore,
    "resident_claim_reuse_after_restore": LifeWalk.reuse,
    "resident_claim_restoration_failed": LifeWalk.fail,
    **dict.fromkeys(_ENDINGS, LifeWalk.end),
}


def _moves(event: Evidence, source: str, target: str) -> bool:
    return event.fields.get("cache_tier_from") == source and event.fields.get("cache_tier_to") == target


def _contradicts_itself(event: Evidence) -> bool:
    """Whether the event says that its predicate is true beside a count that says it is not."""
    text = event.fields.get("materialization_predicate")
    try:
        predicate = parse_predicate(text) if type(text) is str else None
    except (ContractError, ValueError):  # ValueError: more digits than Python converts
        return False  # written otherwise; nothing to compare
    if predicate is None:
        return False
    counted = "leading_blocks_survived" if isinstance(predicate, LeadingPrefix) else "resident_blocks_materialized"
    survived = count_of(event.fields.get(counted))
    return survived is not None and survived < predicate.num_blocks
