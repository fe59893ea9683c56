"""One claim in a serving engine's events: metadata, store path, and one attempt for every load job."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from residentkv.conformance.gates.evidence import IDENTITY_FIELDS, ClaimEvidence, Evidence, Identity, count_of, in_order
from residentkv.contract.events import EVENT_NAMES

OBSERVATION_REQUIREMENTS: Final[tuple[str, ...]] = (
    "claim_metadata_before_lifecycle",
    "ambiguous_claim_cache_identity",
    "store_offload_to_cpu_path",
    "reuse_lookup_hit_requiring_load",
    "cpu_to_gpu_restore_success",
    "claim_metadata_ordering",
)

_ATTRIBUTED: Final = ("outcome_claim_id",)
TERMINATIONS: Final = ("offload_request_finished_pending_jobs", "offload_request_finished_no_pending_jobs")
SCHEDULER_FAILURES: Final = ("scheduler_resident_claim_restoration_failed", "scheduler_active_request_refused")
_METADATA: Final = ("request_initialized", "resident_claim_accepted", "resident_claim_materialized")

KEPT: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(_METADATA, ()),
    "offload_store_job_created": (),
    "offload_worker_transfer_finished": (),
    "offload_job_completed": (),
    "offload_lookup_result": (),
    "resident_claim_restore_required": (),
    "offload_load_job_created": (),
    "offload_load_job_failed": (),
    "resident_claim_restored": (),
    "resident_claim_reuse_after_restore": (),
    "resident_claim_harmed": (),
    "resident_claim_restoration_failed": _ATTRIBUTED,
    **dict.fromkeys(SCHEDULER_FAILURES, _ATTRIBUTED),
    "active_request_refused": _ATTRIBUTED,
    **dict.fromkeys(TERMINATIONS, ()),
}
SEEN: Final = frozenset(name for name in EVENT_NAMES if name.startswith("resident_") and name not in KEPT)
_REFUSALS: Final = (*SCHEDULER_FAILURES, "active_request_refused")
# Events that report a failure or a refusal.
OUTCOMES: Final = (*_REFUSALS, "resident_claim_restoration_failed")


@dataclass(slots=True)
class Attempt:
    """One load job and what came of it: the lookup and requirement that led to it, and the events that follow."""

    lookup: Evidence | None
    required: Evidence | None
    load: Evidence | None
    events: list[Evidence] = field(default_factory=list)

    def after(self, anchor: Evidence | None, *names: str) -> Iterator[Evidence]:
        """Events of these names behind `anchor`, in order; none without one."""
        start = None if anchor is None else next((i for i, event in enumerate(self.events) if event is anchor), -1)
        if start is not None:
            yield from (event for event in self.events[start + 1 :] if event.name in names)

    def transfer(self, *, success: bool) -> Evidence | None:
        """The first copy to the device that ended so."""
        return next((event for event in self.events if is_transfer(event, "CPU", "GPU", success=success)), None)


class ConnectorLife:
    """The events of one claim in order, parted into metadata, stores and load attempts.

    An event belongs to the attempt of its job; without a job id to the latest of its request; without either, to the
    latest. A job id that no job has belongs nowhere, and is evidence of nothing.
    """

    def __init__(self, claim: ClaimEvidence) -> None:
        ordered = in_order(claim.events)
        self.claim_id = claim.claim_id
        self.is_ordered = ordered.is_sound
        self.events = tuple(event for event in ordered.events if self._concerns(event))
        self.metadata: list[Evidence] = []  # what came before the life cycle began
        self.late_metadata: list[Evidence] = []
        self.is_stored = False
        self.attempts: list[Attempt] = []
        self.is_ambiguous = _is_ambiguous(claim)
        self._created: dict[object, None] = {}  # store jobs, in order; then those whose copy succeeded
        self._copied: dict[object, None] = {}
        self._by_job: dict[object, Attempt] = {}
        self._by_request: dict[object, Attempt] = {}
        self._place = {event.line: place for place, event in enumerate(self.events)}
        self._latest: dict[str, dict[object, Evidence]] = {"lookup": {}, "required": {}}
        self._has_begun = False
        for event in self.events:
            self._take(event)

    @classmethod
    def unseen(cls, claim_id: str) -> "ConnectorLife":
        """The life of a claim that the trace does not name."""
        return cls(ClaimEvidence(claim_id))

    @property
    def identity_fields(self) -> list[str]:
        """Which of IDENTITY_FIELDS the metadata says before the life cycle begins, in their order."""
        return [name for name in IDENTITY_FIELDS if any(event.fields.get(name) for event in self.metadata)]

    @property
    def has_injection_flag(self) -> bool:
        """Whether a failure says that it was injected. Recorded, not required."""
        flags = ("controlled_restoration_unavailable", "injected_restoration_failure", "failure_injection_flag")
        return any(event.is_true(flag) for event in self.events for flag in flags)

    def _concerns(self, event: Evidence) -> bool:
        """Whether the event is this claim's own; a refusal may leave the claim id out and name it as its outcome."""
        if event.claim_id == self.claim_id:
            return True
        is_refusal = event.name in _REFUSALS and event.claim_id is None
        return is_refusal and event.fields.get("outcome_claim_id") == self.claim_id

    def _take(self, event: Evidence) -> None:
        if event.name in _METADATA:
            (self.late_metadata if self._has_begun else self.metadata).append(event)
        self._has_begun |= event.name not in _METADATA
        job, request = event.fields.get("job_id"), event.fields.get("request_id")
        if event.name == "offload_store_job_created":
            self._created[_key(job)] = None
        elif is_transfer(event, "GPU", "CPU", success=True):
            if (stored := _take_job(self._created, job)) is not None:
                self._copied[stored] = None
        elif event.name == "offload_job_completed" and event.is_true("is_store"):
            self.is_stored |= _take_job(self._copied, job) is not None
        elif event.name == "offload_lookup_result":
            hits = self._latest["lookup"]
            hits.pop(_key(request), None)  # a later miss outweighs an earlier hit
            if (count_of(event.fields.get("num_hit_tokens")) or 0) > 0 and event.is_true("will_load_async"):
                hits[_key(request)] = event
        elif event.name == "resident_claim_restore_required":
            self._latest["required"][_key(request)] = event
        elif event.name == "offload_load_job_created":
            attempt = Attempt(self._taken("lookup", request), self._taken("required", request), event, [event])
            self.attempts.append(attempt)
            self._by_request[_key(request)] = attempt
            if job is not None:
                self._by_job[_key(job)] = attempt
        elif (owner := self._attempt_of(event)) is not None:
            owner.events.append(event)

    def rises(self, *events: Evidence | None) -> bool:
        """Whether events of this life, those that are not None, come in this order."""
        places = [self._place[event.line] for event in events if event is not None]
        return places == sorted(places)

    def _taken(self, kind: str, request: object) -> Evidence | None:
        """Take the latest event of a kind for the request, so that one hit does not stand for two loads."""
        latest = self._latest[kind]
        if request is None:
            return latest.pop(next(reversed(latest))) if latest else None
        return latest.pop(_key(request), None) or latest.pop(_NO_ID, None)

    def _attempt_of(self, event: Evidence) -> Attempt | None:
        job, request = event.fields.get("job_id"), event.fields.get("request_id")
        if job is not None and _key(job) in self._by_job:
            return self._by_job[_key(job)]
        if request is None:
            attempt = self.attempts[-1] if self.attempts else None
        else:
            attempt = self._by_request.get(_key(request)) or self._by_request.get(_NO_ID)
        if job is None or attempt is None or attempt.load is None or attempt.load.fields.get("job_id") is None:
            return attempt
        return None  # it says which job it is of, and no load job is that one


def is_transfer(event: Evidence, source: str, target: str, *, success: bool) -> bool:
    """Whether the event is a copy from one tier to the other that ended so; `success` must be there."""
    return (
        event.name == "offload_worker_transfer_finished"
        and event.fields.get("transfer_type") == [source, target]
        and event.fields.get("success") is success
    )


def preparation_problems(life: ConnectorLife) -> set[str]:
    """What either verdict needs before any load: metadata, one object, and a store that completed.

    An engine need not say what the object is; what it says must not change. `ConnectorLife.identity_fields` tells.
    """
    problems = set()
    is_known = any(event.name == "request_initialized" for event in life.metadata)
    is_known_late = not is_known and any(event.name == "request_initialized" for event in life.late_metadata)
    if not is_known and not is_known_late:
        problems.add("claim_metadata_before_lifecycle")
    if is_known_late or not life.is_ordered:
        problems.add("claim_metadata_ordering")
    if life.is_ambiguous:
        problems.add("ambiguous_claim_cache_identity")
    if not life.is_stored:
        problems.add("store_offload_to_cpu_path")
    return problems


def is_required(life: ConnectorLife, attempt: Attempt) -> bool:
    """Whether a lookup hit, then the claim's requirement, then the load job came in this order."""
    lookup, required = attempt.lookup, attempt.required
    if lookup is None or required is None or attempt.load is None:
        return False
    return life.rises(lookup, required, attempt.load)


def observation_problems(life: ConnectorLife) -> set[str]:
    """What the observation verdict misses: one attempt that was required, loaded and completed."""
    problems = preparation_problems(life)
    required = [attempt for attempt in life.attempts if is_required(life, attempt)]
    if not required:
        problems.add("reuse_lookup_hit_requiring_load")
    if not any(_is_restored(attempt) for attempt in required or life.attempts):
        problems.add("cpu_to_gpu_restore_success")
    return problems


def _is_restored(attempt: Attempt) -> bool:
    copied = attempt.transfer(success=True)
    restored = next(attempt.after(copied, "resident_claim_restored"), None)
    completed = (event for event in attempt.after(copied, "offload_job_completed") if _is_load(event))
    return restored is not None and is_from_tier(restored) and next(completed, None) is not None


def is_from_tier(restored: Evidence) -> bool:
    """Whether nothing in a restored event says that the content came from elsewhere (a recompute)."""
    return (
        restored.fields.get("restoration_source") in (None, "offload_tier")
        and restored.fields.get("restored_from_offload_tier") in (None, True)
    )  # fmt: skip


def _is_load(event: Evidence) -> bool:
    return event.fields.get("is_store") is False


def _is_ambiguous(claim: ClaimEvidence) -> bool:
    merged = Identity()
    for part in claim.identities.values():
        merged.conflicts |= part.conflicts
        merged.see(part.values)
    return bool(merged.conflicts) or len(claim.identities.keys() - {None}) > 1


_NO_ID: Final = repr(None)


def _take_job(jobs: dict[object, None], job: object) -> object | None:
    """Take a job out of those at one stage; an event without a job id takes the oldest. None if there is none."""
    key = next(iter(jobs), None) if job is None else _key(job)
    if key is None or key not in jobs:
        return None
    del jobs[key]
    return key


def _key(value: object) -> object:
    """A hashable stand-in for a job or request id of any JSON type."""
    return value if type(value) in (str, int) else repr(value)
