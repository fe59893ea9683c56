"""`residentkv trace explain`: a trace as sentences, one story for every claim and one for every request."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from residentkv.conformance.gates.evidence import claim_id_of, names_in
from residentkv.contract.events import EVENT_ALIASES, Event


@dataclass(frozen=True, slots=True)
class Sentence:
    """What one event adds to a story. `line` counts from 1."""

    line: int
    text: str

    def to_json(self) -> dict[str, Any]:
        """The sentence as JSON values."""
        return {"line": self.line, "text": self.text}


@dataclass(slots=True)
class Stories:
    """Sentences by claim id and by request id, in the order of first mention.

    Parameters
    ----------
    num_events : events read.
    num_untold : events that belong to no claim and no request, or that have a name nobody here knows.
    """

    claims: dict[str, list[Sentence]] = field(default_factory=dict)
    requests: dict[str, list[Sentence]] = field(default_factory=dict)
    num_events: int = 0
    num_untold: int = 0

    def to_json(self) -> dict[str, Any]:
        """The stories as JSON values."""
        return {
            "claims": {name: [one.to_json() for one in told] for name, told in self.claims.items()},
            "requests": {name: [one.to_json() for one in told] for name, told in self.requests.items()},
            "events": self.num_events,
            "untold": self.num_untold,
        }


def tell(events: Iterable[tuple[int, Event]], *, claim_id: str | None = None, request_id: str | None = None) -> Stories:
    """Tell every story of a trace, or those of one claim and one request. Memory: what is told.

    Parameters
    ----------
    claim_id, request_id : tell only this claim's, only this request's story; with one of them, no other story.
    """
    stories = Stories()
    everything = claim_id is None and request_id is None
    runs: dict[tuple[str, str], _Run] = {}
    for line, event in events:
        stories.num_events += 1
        name = event.get("event")
        name = EVENT_ALIASES.get(name, name) if type(name) is str else ""
        is_told = False
        for kind, who in _cast(name, event):
            is_told = True
            if not everything and who != (claim_id if kind == "claim" else request_id):
                continue
            told = (stories.claims if kind == "claim" else stories.requests).setdefault(who, [])
            run = runs.setdefault((kind, who), _Run())
            run.take(told, line, name, _sentence(kind, name, who, event))
        stories.num_untold += not is_told
    return stories


class _Run:
    """Repeated events (blocks gained, blocks evicted) are one sentence with a count."""

    def __init__(self) -> None:
        self._name = ""
        self._count = 0

    def take(self, told: list[Sentence], line: int, name: str, text: str) -> None:
        if name in _REPEATED and name == self._name:
            self._count += 1
            told[-1] = Sentence(told[-1].line, _REPEATED[name].format(count=self._count))
            return
        self._name, self._count = name, 1
        told.append(Sentence(line, text))


_REPEATED: Final[Mapping[str, str]] = {
    "resident_block_materialized": "{count} of its blocks are there, one after the other.",
    "resident_claim_block_lost_after_release": "{count} of its blocks are lost, after its end.",
    "allocation_victim_selected": "{count} cached blocks are evicted for it.",
}


def _cast(name: str, event: Event) -> Iterator[tuple[str, str]]:
    """Whom an event is about: the claim, claims that it names, and the request."""
    if name not in _CLAIM_TEXT and name not in _REQUEST_TEXT:
        return
    own = claim_id_of(event)
    named = names_in(event.get("blocking_claim_ids")) or ()
    if name in _CLAIM_TEXT:
        for claim_id in dict.fromkeys((own, *named)):
            if claim_id is not None:
                yield "claim", claim_id
    request_id = event.get("request_id")
    if name in _REQUEST_TEXT and type(request_id) is str:
        yield "request", request_id


def _sentence(kind: str, name: str, who: str, event: Event) -> str:
    text = (_CLAIM_TEXT if kind == "claim" else _REQUEST_TEXT)[name]
    return text(event, who) if callable(text) else text.format_map(_Fields(event))


class _Fields(dict[str, Any]):
    """Fields of an event for a sentence: what the event does not say reads as unknown."""

    def __missing__(self, _key: str) -> str:
        return "unknown"


def _names(event: Event, name: str) -> str:
    return ", ".join(names_in(event.get(name)) or ()) or "nobody"


def _blocked(outcome: str) -> Callable[[Event, str], str]:
    """A decision against a request, as a claim that it names sees it."""

    def text(event: Event, who: str) -> str:
        others = [claim_id for claim_id in names_in(event.get("blocking_claim_ids")) or () if claim_id != who]
        beside = f" beside {', '.join(others)}" if others else ""
        reason = " because its restore failed" if event.get("outcome_claim_id") == who else ""
        return f"Request {event.get('request_id')} is {outcome}{reason}; this claim is named{beside}."

    return text


def _decided(outcome: str) -> Callable[[Event, str], str]:
    """A decision, as the request sees it."""

    def text(event: Event, _who: str) -> str:
        need, usable = event.get("active_live_blocks_required"), event.get("usable_blocks")
        protected, shortfall = event.get("protected_resident_blocks"), event.get("capacity_shortfall_blocks")
        parts = [f"It is {outcome}"]
        if need is not None:
            parts.append(f": it needs {need} of {usable} blocks")
        if protected is not None:
            parts.append(f", {protected} are protected")
        if shortfall is not None and shortfall > 0:
            parts.append(f", {shortfall} are missing")
        if event.get("new_blocks") is not None:
            parts.append(f", {event.get('reused_blocks')} reused and {event['new_blocks']} new")
        if names_in(event.get("blocking_claim_ids")):
            parts.append(f"; in its way: {_names(event, 'blocking_claim_ids')}")
        return "".join(parts) + "."

    return text


def _transfer(event: Event, _who: str) -> str:
    kind = event.get("transfer_type")
    way = " to ".join(str(end) for end in kind) if type(kind) is list else str(kind)
    ending = (
        "succeeds" if event.get("success") is True else "fails" if event.get("success") is False else "ends somehow"
    )
    return f"The copy {way} of job {event.get('job_id')} {ending}."


def _harm(event: Event, _who: str) -> str:
    cause = event.get("harm_cause")
    for_whom = f" for request {event['request_id']}" if event.get("request_id") is not None else ""
    return f"It is harmed ({cause}{for_whom}): {event.get('leading_blocks_survived')} leading blocks are left."


_Text = str | Callable[[Event, str], str]

_CLAIM_TEXT: Final[Mapping[str, _Text]] = {
    "resident_claim_submitted": "It asks for {resident_blocks_required} blocks as {protection_mode}: "
    "{materialization_predicate}.",
    "resident_claim_accepted": "It is accepted, generation {lifecycle_generation}.",
    "resident_claim_rejected": "It is rejected: {reject_reason}.",
    "resident_block_materialized": "1 of its blocks is there.",
    "resident_claim_materialized": "It is materialized: {leading_blocks_survived} leading blocks survive.",
    "resident_claim_preserved": "It is preserved from request {request_id}.",
    "resident_claim_harmed": _harm,
    "resident_claim_demoted": "It is demoted; from here on its blocks may go.",
    "resident_claim_expired": "It expires; from here on its blocks may go.",
    "resident_claim_released": "It is released.",
    "resident_claim_block_lost_after_release": "1 of its blocks is lost, after its end.",
    "resident_claim_offloaded": "It is offloaded to {cache_tier_to}, offload generation {offload_generation}.",
    "resident_claim_restore_required": "Request {request_id} needs it back from the tier.",
    "resident_claim_restored": "It is restored for request {request_id}, from {restoration_source}.",
    "resident_claim_reuse_after_restore": "Request {request_id} reuses it; predicate satisfied: {predicate_satisfied}.",
    "resident_claim_restoration_failed": "Its restore fails for request {request_id}; the outcome is a "
    "{claim_scoped_outcome_type} of claim {outcome_claim_id}.",
    "active_request_refused": _blocked("refused"),
    "active_request_deferred": _blocked("deferred"),
    "request_initialized": "Request {request_id} of this claim begins.",
    "offload_store_job_created": "Store job {job_id} is created.",
    "offload_worker_transfer_finished": _transfer,
    "offload_job_completed": "Job {job_id} completes (store: {is_store}).",
    "offload_lookup_result": "Request {request_id} looks it up: {num_hit_tokens} tokens hit; loads: {will_load_async}.",
    "offload_load_job_created": "Load job {job_id} is created.",
    "offload_load_job_failed": "Load job {job_id} fails.",
    "scheduler_resident_claim_restoration_failed": "The scheduler sees the restore of claim {outcome_claim_id} fail.",
    "scheduler_active_request_refused": _blocked("refused by the scheduler"),
    "offload_request_finished_pending_jobs": "Request {request_id} ends with jobs pending.",
    "offload_request_finished_no_pending_jobs": "Request {request_id} ends.",
}
_REQUEST_TEXT: Final[Mapping[str, _Text]] = {
    "active_request_admitted": _decided("admitted"),
    "active_request_deferred": _decided("deferred"),
    "active_request_refused": _decided("refused"),
    "active_live_bounded": "Its live blocks are bounded ({arbiter_action}).",
    "future_reuse_admitted": "What it computes may be reused.",
    "future_reuse_denied": "What it computes may not be reused.",
    "allocation_victim_selected": "1 cached block is evicted for it.",
    "resident_claim_preserved": "It is turned away to preserve claim {claim_id}.",
    "resident_claim_harmed": "It costs claim {claim_id} its predicate.",
    "resident_claim_restore_required": "It needs claim {claim_id} back from the tier.",
    "resident_claim_restored": "Claim {claim_id} is restored for it.",
    "resident_claim_reuse_after_restore": "It reuses claim {claim_id}.",
    "resident_claim_restoration_failed": "The restore of claim {claim_id} that it waits for fails.",
    "request_initialized": "It begins, with claim {claim_id}.",
    "scheduler_active_request_refused": "The scheduler refuses it.",
    "offload_request_finished_pending_jobs": "It ends with jobs pending.",
    "offload_request_finished_no_pending_jobs": "It ends.",
}
