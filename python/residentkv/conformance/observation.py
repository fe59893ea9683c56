"""What an outside observer learns from a trace: every claim's life, every request's fate, and every contradiction.

Claims advance by the one table of `contract.claim`, so a transition the contract does not know is a problem here, as is
anything said about a claim that was not accepted first.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from residentkv.conformance.trace import Trace
from residentkv.contract.claim import ClaimEvent, ClaimState, ProtectionMode, advance
from residentkv.contract.errors import ClaimStateError, ContractError
from residentkv.contract.events import CLAIM_FIELDS, Event, canonical_name, is_claim_event
from residentkv.contract.predicate import parse_predicate

_TRANSITIONS: Final[dict[str, ClaimEvent]] = {
    "resident_claim_accepted": ClaimEvent.ACCEPT,
    "resident_claim_rejected": ClaimEvent.REJECT,
    "resident_claim_materialized": ClaimEvent.MATERIALIZE,
    "resident_claim_harmed": ClaimEvent.HARM,
    "resident_claim_demoted": ClaimEvent.DEMOTE,
    "resident_claim_expired": ClaimEvent.EXPIRE,
    "resident_claim_released": ClaimEvent.RELEASE,
}
_OUTCOMES: Final[dict[str, str]] = {
    "active_request_admitted": "admitted",
    "active_request_deferred": "deferred",
    "active_request_refused": "refused",
}
_FUTURE_REUSE: Final[dict[str, str]] = {"future_reuse_admitted": "admitted", "future_reuse_denied": "denied"}
# Fixed when a claim is submitted; a claim that changes one of them is two claims under one name.
_FIXED_FIELDS: Final = CLAIM_FIELDS[: CLAIM_FIELDS.index("lifecycle_generation")]


@dataclass(slots=True)
class ClaimLife:
    """One claim, from its submission on.

    Parameters
    ----------
    submitted : the event that began it.
    mode : as reported by its acceptance.
    history : (event_sequence, state) of every transition.
    blocks : logical position of each of its physical blocks that survives.
    evictions : event_sequence of every eviction of one of its blocks, at any time of its life or after.
    losses_after_end : blocks reported lost after its end.
    harm : the event that reported its harm.
    preserved_for : requests that were turned away to preserve it.
    """

    submitted: Event
    state: ClaimState = ClaimState.SUBMITTED
    mode: str | None = None
    history: list[tuple[int, ClaimState]] = field(default_factory=list)
    blocks: dict[int, int] = field(default_factory=dict)
    evictions: list[int] = field(default_factory=list)
    losses_after_end: int = 0
    harm: Event | None = None
    preserved_for: list[str] = field(default_factory=list)

    def reached(self, state: ClaimState) -> int | None:
        """event_sequence at which the claim entered `state`, None if it never did."""
        return next((sequence for sequence, entered in self.history if entered is state), None)


@dataclass(slots=True)
class RequestFate:
    """One request: the last decision about it, whether its KV may be reused, and the blocks evicted for it."""

    decision: Event | None = None
    outcome: str = "absent"
    future_reuse: str = "absent"
    victims: list[Event] = field(default_factory=list)

    def number(self, name: str) -> Any:
        """Field `name` of the decision, None without a decision."""
        return None if self.decision is None else self.decision[name]


@dataclass(slots=True)
class Observation:
    """Everything a judge may use.

    Parameters
    ----------
    num_harms : harm events, deserved or not.
    timeline : one short line per transition and decision, in order.
    problems : contradictions of the contract that hold whatever the scenario; empty for an honest trace.
    """

    claims: dict[str, ClaimLife] = field(default_factory=dict)
    requests: dict[str, RequestFate] = field(default_factory=dict)
    timeline: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    num_harms: int = 0

    def request(self, request_id: str) -> RequestFate:
        """The fate of a request, an empty one if the trace does not name it."""
        return self.requests.get(request_id, RequestFate())

    def claims_in(self, state: ClaimState) -> list[str]:
        """Ids of the claims that ever entered `state`, by first mention."""
        return [claim_id for claim_id, life in self.claims.items() if life.reached(state) is not None]

    def resident_victims(self, claim_id: str, request_id: str) -> int:
        """How many blocks of the claim were evicted for the request."""
        life = self.claims.get(claim_id)
        victims = {victim["event_sequence"] for victim in self.request(request_id).victims}
        return 0 if life is None else len(victims.intersection(life.evictions))


def observe(trace: Trace) -> Observation:
    """Replay a trace. O(events * claims that share a block)."""
    seen = Observation(problems=list(trace.problems))
    for event in trace.events:
        name = canonical_name(event)
        seen.num_harms += name == "resident_claim_harmed"
        if name == "resident_claim_submitted":
            _submit(seen, event)
        elif is_claim_event(name):
            _advance_claim(seen, name, event)
        elif name in _OUTCOMES:
            _decide(seen, _OUTCOMES[name], event)
        elif name in _FUTURE_REUSE:
            _fate(seen, event).future_reuse = _FUTURE_REUSE[name]
        elif name == "allocation_victim_selected":
            _evict(seen, event)
    return seen


def _submit(seen: Observation, event: Event) -> None:
    earlier = seen.claims.get(event["claim_id"])
    if earlier is not None and not earlier.state.is_final:
        _report(seen, event, "is submitted while it lives")
    seen.claims[event["claim_id"]] = ClaimLife(submitted=event)


def _advance_claim(seen: Observation, name: str, event: Event) -> None:
    life = seen.claims.get(event["claim_id"])
    if life is None:
        _report(seen, event, "was never submitted")
        return
    changed = [fixed for fixed in _FIXED_FIELDS if event[fixed] != life.submitted[fixed]]
    if changed:
        _report(seen, event, f"changes {', '.join(changed)}")
    if name in _TRANSITIONS:
        _transition(seen, life, _TRANSITIONS[name], event)
    elif life.reached(ClaimState.ACCEPTED) is None:
        _report(seen, event, "was not accepted")
    elif name == "resident_block_materialized":
        life.blocks[event["physical_block_id"]] = event["logical_block_position"]
    elif name == "resident_claim_preserved":
        life.preserved_for.append(event["request_id"])
        seen.timeline.append(f"{event['claim_id']} preserved")
    elif name == "resident_claim_block_lost_after_release":
        life.losses_after_end += 1
        if not life.state.is_final:
            _report(seen, event, f"lost a block after its end while {life.state.value}")


def _transition(seen: Observation, life: ClaimLife, step: ClaimEvent, event: Event) -> None:
    try:
        life.state = advance(life.state, step)
    except ClaimStateError as error:
        _report(seen, event, str(error))
        return
    life.history.append((event["event_sequence"], life.state))
    if step is ClaimEvent.ACCEPT:
        life.mode = event["protection_mode"]
    if step is ClaimEvent.MATERIALIZE and not _holds(event, set(life.blocks.values())):
        _report(seen, event, f"materialized with {len(life.blocks)} blocks that do not satisfy its predicate")
    if step is ClaimEvent.HARM:
        life.harm = event
    suffix = f": {event['reject_reason']}" if step is ClaimEvent.REJECT else ""
    seen.timeline.append(f"{event['claim_id']} {life.state.value}{suffix}")


def _decide(seen: Observation, outcome: str, event: Event) -> None:
    fate = _fate(seen, event)
    fate.decision, fate.outcome = event, outcome
    blocking = event["blocking_claim_ids"] or []
    for claim_id in blocking:
        life = seen.claims.get(claim_id)
        if life is None or life.state.is_final or life.state is ClaimState.SUBMITTED:
            seen.problems.append(f"request {event['request_id']} is blocked by {claim_id}, which holds nothing")
    suffix = f", blocked by {', '.join(blocking)}" if blocking else ""
    seen.timeline.append(f"{event['request_id']} {outcome}{suffix}")


def _evict(seen: Observation, event: Event) -> None:
    if event["is_protected_resident"] is not False:
        seen.problems.append(f"block {event['physical_block_id']} is a victim although protected")
    if event["request_id"] is not None:
        _fate(seen, event).victims.append(event)
    for claim_id, life in seen.claims.items():
        if life.blocks.pop(event["physical_block_id"], None) is None:
            continue
        life.evictions.append(event["event_sequence"])
        if life.mode is not None and ProtectionMode(life.mode).is_protecting and not life.state.is_final:
            seen.problems.append(f"block {event['physical_block_id']} is a victim although {claim_id} protects it")


def _fate(seen: Observation, event: Event) -> RequestFate:
    return seen.requests.setdefault(event["request_id"], RequestFate())


def _holds(event: Event, surviving: set[int]) -> bool:
    try:
        return parse_predicate(event["materialization_predicate"]).holds(surviving)
    except ContractError:
        return False


def _report(seen: Observation, event: Event, problem: str) -> None:
    seen.problems.append(f"{event['event']} {event['event_sequence']}: claim {event['claim_id']} {problem}")
