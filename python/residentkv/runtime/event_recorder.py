"""The runtime's side of events: recording what only Python knows, and joining it with what the native core recorded.

The native core numbers every event. Python keeps its details under the event's number until the record is read.
"""

from typing import Any

from residentkv import _core
from residentkv.contract.claim import ClaimSpec
from residentkv.contract.claim_fields import fields_of_spec
from residentkv.contract.decision import ConflictRecord, Rejected
from residentkv.contract.events import Event
from residentkv.runtime.cause_names import CauseNames
from residentkv.runtime.claim_names import ClaimNames, NamedClaim, Survival
from residentkv.runtime.event_writer import Details, EventWriter, RunStamp
from residentkv.runtime.request_names import RequestNames


class EventRecorder:
    """Records events of one run. Does nothing while nobody reads them.

    Attributes
    ----------
    has_reader : whether events are kept at all.
    """

    __slots__ = ("_causes", "_claims", "_details", "_native", "_requests", "_unread", "_writer", "has_reader")

    def __init__(
        self, native: _core.BlockManager, requests: RequestNames, stamp: RunStamp, *, has_reader: bool
    ) -> None:
        self._native = native
        self._requests = requests
        self._claims = ClaimNames()
        self._causes = CauseNames()
        self._writer = EventWriter(stamp, self._claims, requests, self._causes)
        self._details: dict[int, Details] = {}
        self._unread: list[Event] = []
        self.has_reader = has_reader

    @property
    def num_pending(self) -> int:
        """Events that `take` would return."""
        return self._native.counts().num_pending_events + len(self._unread)

    def take(self) -> list[Event]:
        """Every event since the last call, complete and in order. O(events)."""
        self._collect()
        events, self._unread = self._unread, []
        return events

    # --- claims ---

    def submitted(self, spec: ClaimSpec, now_ns: int) -> dict[str, Any]:
        """Record a submission. Returns the fields that the claim's later events share. O(tokens)."""
        if not self.has_reader:
            return {}
        fields = fields_of_spec(spec)
        self._record("resident_claim_submitted", Details(claim_fields=fields), now_ns)
        return fields

    def rejected(self, fields: dict[str, Any], answer: Rejected, now_ns: int) -> None:
        """Record that the claim whose submission returned `fields` was not accepted."""
        if self.has_reader:
            outcome = {"reject_reason": answer.reason.value, "reject_numbers": dict(answer.numbers)}
            self._record("resident_claim_rejected", Details(claim_fields={**fields, **outcome}), now_ns)

    def accepted(self, number: int, fields: dict[str, Any], spec: ClaimSpec, generation: int) -> None:
        """Say which claim got `number`; the native core has recorded the rest."""
        if self.has_reader:
            self._claims.add(number, NamedClaim({**fields, "lifecycle_generation": generation}, spec.predicate))

    def ending(self, number: int) -> None:
        """Prepare for later losses of the claim's blocks, which are reported to it. Call before its protection ends."""
        if self.has_reader:
            self._collect()
            blocks = self._native.claim_blocks(number)
            self._claims.expect_losses(number, blocks[blocks >= 0].tolist())

    def preserved(self, number: int, request_id: str, now_ns: int) -> None:
        """Record that a claim kept its blocks while a request had to wait or was refused. O(footprint)."""
        facts = self._native.claim_facts(number)
        survival = Survival(facts.surviving_blocks, facts.leading_blocks, facts.predicate_true)
        details = Details(request_id=request_id, survival=survival)
        self._record("resident_claim_preserved", details, now_ns, claim=number)

    # --- requests ---

    def waits(self, kind: str, request_id: str, record: ConflictRecord, now_ns: int) -> None:
        """Record a deferral or refusal."""
        if self.has_reader:
            self._record(kind, Details(request_id=request_id, record=record), now_ns)

    def relaxed_for(self, key: int) -> None:
        """The admission with this key, just recorded, was made possible by acting on claims."""
        if self.has_reader:
            self._writer.note_relaxed_for(key)

    # --- faults ---

    def cause_number(self, cause: str) -> int:
        """A number for the cause of an invalidation."""
        if self._causes.is_full:
            self._collect()  # nothing pending names a cause any more
            self._causes.clear()
        return self._causes.number(cause)

    def _record(self, kind: str, details: Details, now_ns: int, claim: int = _core.NO_CLAIM) -> None:
        self._details[self._native.record_event(kind, claim, _core.NO_REQUEST, now_ns)] = details

    def _collect(self) -> None:
        """Turn native records into events, so that names they need may be forgotten. O(records)."""
        self._unread.extend(self._writer.write(self._native.drain_events(), self._details))
        self._requests.forget_ended()
