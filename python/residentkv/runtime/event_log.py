"""The callers' side of events: delivery to sinks. A sink that raises is disabled and reported; nobody else notices.

Invariants: (1) an event reaches every sink that is not disabled, once; only a write that a BaseException such as
KeyboardInterrupt cut short is repeated. (2) A sink sees increasing event numbers.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from residentkv.contract.events import Event, EventSink
from residentkv.runtime.event_recorder import EventRecorder
from residentkv.runtime.turn import Turn

_LOGGER: Final = logging.getLogger("residentkv")


@runtime_checkable
class ReadableSink(Protocol):
    """A sink that shows what it took, and first asks for what is still on the way."""

    def connect(self, pull: Callable[[], object]) -> None:
        """Take the call that delivers pending events."""


@dataclass(frozen=True, slots=True)
class SinkError:
    """A sink that raised, and gets nothing any more.

    Parameters
    ----------
    sink : as the caller passed it.
    error : what it raised.
    event_sequence : of the event it did not take; None if it raised while flushing or closing.
    num_undelivered : events it will not get, of those that were on their way.
    """

    sink: EventSink
    error: Exception
    event_sequence: int | None
    num_undelivered: int


class EventLog:
    """Delivers a manager's events. Get it as `BlockManager.events`; call `flush` once a step or so.

    Events wait in memory until they are delivered. Without sinks nothing waits.
    """

    __slots__ = ("_errors", "_feeds", "_is_closed", "_is_delivering", "_recorder", "_turn")

    def __init__(self, recorder: EventRecorder, sinks: Sequence[EventSink], turn: Turn) -> None:
        self._recorder = recorder
        self._turn = turn
        self._feeds = [_Feed(sink) for sink in sinks]
        self._errors: list[SinkError] = []
        self._is_delivering = False
        self._is_closed = False
        for sink in sinks:
            if isinstance(sink, ReadableSink):
                sink.connect(self.flush)

    @property
    def num_pending(self) -> int:
        """Events that the slowest sink has not taken. O(sinks)."""
        return (
            0 if self._is_closed else self._recorder.num_pending + max((len(f.queue) for f in self._feeds), default=0)
        )

    @property
    def sink_errors(self) -> tuple[SinkError, ...]:
        """Disabled sinks, in the order in which they failed."""
        return tuple(self._errors)

    def flush(self) -> int:
        """Deliver every pending event and flush the sinks. O(events).

        A sink may call the manager; what that records waits for the next flush. Called by a sink, flush does nothing.

        Returns
        -------
        Number of events that were new to the sinks.
        """
        if self._is_closed or self._is_delivering:
            return 0
        num_new = self.collect()
        self._deliver()
        return num_new

    def collect(self) -> int:
        """Queue every event so far for the sinks without calling them; returns how many. For `BlockManager.close`."""
        with self._turn:
            events = self._recorder.take()
        for feed in self._feeds:
            feed.queue.extend(events)
        return len(events)

    def close(self) -> None:
        """Deliver what was collected and close the sinks. For `BlockManager.close`."""
        self._is_closed = True
        self._deliver()
        for feed in tuple(self._feeds):
            self._attempt(feed, feed.sink.close)
        self._feeds.clear()

    def _deliver(self) -> None:
        self._is_delivering = True
        try:
            for feed in tuple(self._feeds):
                self._attempt(feed, feed.deliver)
        finally:
            self._is_delivering = False

    def _attempt(self, feed: "_Feed", act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - a sink is a caller's code: whatever it raises ends that sink only
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
