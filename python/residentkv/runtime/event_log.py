"""The events of a run on their way from the native core to sinks.

Native code numbers every event and keeps it; Python adds what only it knows under the event's number. `flush` brings both together and
delivers. A sink that raises is disabled and reported, the others and the runtime go on.

Invariants: (1) an event recorded while a sink was attached reaches every sink that is not disabled, exactly once unless a
BaseException (such as KeyboardInterrupt) interrupts a write: that event is offered again. (2) Sinks see increasing numbers.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from residentkv import _core
from residentkv.contract.claim import ClaimSpec
from residentkv.contract.decision import ConflictRecord, Rejected
from residentkv.contract.events import Event, EventSink
from residentkv.runtime.cause_names import CauseNames
from residentkv.runtime.claim_names import ClaimNames, NamedClaim, fields_of_spec
from residentkv.runtime.event_writer import Details, EventWriter, RunStamp
from residentkv.runtime.request_names import RequestNames
from residentkv.runtime.turn import Turn

_LOGGER: Final = logging.getLogger("residentkv")


@runtime_checkable
class ReadableSink(Protocol):
    """A sink that shows what it took, and first asks for what is still on the way."""

    def connect(self, pull: Callable[[], object]) -> None:
        """Take the call that delivers pending events."""


@dataclass(frozen=True, slots=True)
class SinkError:
    """A sink that raised and gets nothing any more.

    Parameters
    ----------
    sink : the sink, as the caller passed it.
    error : what it raised.
    event_sequence : of the event it did not take; None if it raised while flushing or closing.
    num_undelivered : events dropped for this sink when it was disabled.
    """

    sink: EventSink
    error: Exception
    event_sequence: int | None
    num_undelivered: int


class EventLog:
    """Events of one manager. `flush` belongs into the serving loop, once a step; `close` of the manager flushes too.

    Thread safety: none; as the manager.
    """

    __slots__ = (
        "_causes",
        "_claims",
        "_details",
        "_errors",
        "_feeds",
        "_is_closed",
        "_is_delivering",
        "_native",
        "_requests",
        "_turn",
        "_writer",
        "is_traced",
    )

    def __init__(
        self,
        native: _core.BlockManager,
        sinks: Sequence[EventSink],
        stamp: RunStamp,
        requests: RequestNames,
        turn: Turn,
    ) -> None:
        self._native = native
        self._turn = turn
        self._requests = requests
        self._claims = ClaimNames()
        self._causes = CauseNames()
        self._writer = EventWriter(stamp, self._claims, requests, self._causes)
        self._details: dict[int, Details] = {}
        self._errors: list[SinkError] = []
        self._feeds = [_Feed(sink) for sink in sinks]
        self._is_delivering = False
        self._is_closed = False
        self.is_traced: Final = bool(self._feeds)
        for sink in sinks:
            if isinstance(sink, ReadableSink):
                sink.connect(self.flush)

    # --- for callers of the manager ---

    @property
    def num_pending(self) -> int:
        """Events not yet delivered to the sink that is furthest behind."""
        if self._is_closed:
            return 0
        waiting = max((len(feed.queue) for feed in self._feeds), default=0)
        return self._native.counts().num_pending_events + waiting

    @property
    def sink_errors(self) -> tuple[SinkError, ...]:
        """Sinks that were disabled, in the order in which they failed."""
        return tuple(self._errors)

    def flush(self) -> int:
        """Deliver every pending event to the sinks and flush them. O(events).

        A call from inside a sink does nothing. What a sink makes the manager record waits for the next flush.

        Returns
        -------
        Number of events that were new to the sinks.
        """
        if self._is_closed or self._is_delivering:
            return 0
        with self._turn:
            num_new = self.collect()
        self._deliver()  # outside of the turn: a sink may call the manager
        return num_new

    # --- for the runtime ---

    def collect(self) -> int:
        """Turn native records into events, queued for the sinks; delivers nothing. Returns how many. O(events)."""
        if not self.is_traced:
            return 0
        events = self._writer.write(self._native.drain_events(), self._details)
        for feed in self._feeds:
            feed.queue.extend(events)
        counts = self._native.counts()
        self._requests.forget_drained(
            num_steps_planned=counts.num_steps_planned, num_steps_in_flight=counts.num_steps_in_flight
        )
        return len(events)

    def claim_submitted(self, spec: ClaimSpec, now_ns: int) -> dict[str, object] | None:
        """Record a submission. Returns the fields of the claim's later events, or None while nobody reads events."""
        if not self.is_traced:
            return None
        fields = fields_of_spec(spec)
        self._record("resident_claim_submitted", Details(claim_fields=fields), now_ns)
        return fields

    def claim_rejected(self, fields: dict[str, object] | None, answer: Rejected, now_ns: int) -> None:
        """Record that a submitted claim was not accepted."""
        if fields is not None:
            fields = {**fields, "reject_reason": answer.reason.value, "reject_numbers": dict(answer.numbers)}
            self._record("resident_claim_rejected", Details(claim_fields=fields), now_ns)

    def claim_accepted(self, number: int, fields: dict[str, object] | None, spec: ClaimSpec, generation: int) -> None:
        """Say who is behind the number of a claim that the native core accepted and recorded."""
        if fields is not None:
            self._claims.add(number, NamedClaim({**fields, "lifecycle_generation": generation}, spec.predicate))

    def claim_ending(self, number: int, *, reports_losses: bool) -> None:
        """Prepare for the end of a claim whose blocks' loss will be reported to it. Call before the native core ends it."""
        if self.is_traced and reports_losses:
            self.collect()
            blocks = self._native.claim_blocks(number)
            self._claims.expect_losses(number, blocks[blocks >= 0].tolist())

    def request_waits(self, kind: str, request_id: str, record: ConflictRecord, now_ns: int) -> None:
        """Record a deferral or refusal."""
        if self.is_traced:
            self._record(kind, Details(request_id=request_id, record=record), now_ns)

    def claim_preserved(self, number: int, request_id: str, now_ns: int) -> None:
        """Record that a claim kept its blocks against a request that had to wait or was refused."""
        if self.is_traced:
            self._record("resident_claim_preserved", Details(request_id=request_id), now_ns, claim=number)

    def relaxed_for(self, key: int) -> None:
        """The admission with this key goes ahead because claims were acted on."""
        if self.is_traced:
            self._writer.note_relaxed_for(key)

    def cause_number(self, cause: str) -> int:
        """A number for the cause of an invalidation."""
        if self._causes.is_full:
            self.collect()  # nothing pending names a cause any more
            self._causes.clear()
        return self._causes.number(cause)

    def close(self) -> None:
        """Deliver what was collected, then close every sink. The native core is not asked any more."""
        self._is_closed = True
        self._deliver()
        for feed in list(self._feeds):
            self._guard(feed, feed.sink.close)
        self._feeds.clear()

    def _deliver(self) -> None:
        self._is_delivering = True
        try:
            for feed in list(self._feeds):
                self._guard(feed, feed.deliver)
        finally:
            self._is_delivering = False

    def _record(self, kind: str, details: Details, now_ns: int, claim: int = _core.NO_CLAIM) -> None:
        self._details[self._native.record_event(kind, claim, _core.NO_REQUEST, now_ns)] = details

    def _guard(self, feed: "_Feed", act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - a sink is the user's code: whatever it raises is its own end and nobody else's
            failed_at = feed.queue[0]["event_sequence"] if feed.queue else None
            self._errors.append(SinkError(feed.sink, error, failed_at, len(feed.queue)))
            self._feeds.remove(feed)
            _LOGGER.error("event sink %r raised and was disabled: %r", feed.sink, error)


class _Feed:
    """One sink and what it has not taken yet."""

    __slots__ = ("queue", "sink")

    def __init__(self, sink: EventSink) -> None:
        self.sink = sink
        self.queue: deque[Event] = deque()

    def deliver(self) -> None:
        while self.queue:
            self.sink.write(self.queue[0])
            self.queue.popleft()
        self.sink.flush()
