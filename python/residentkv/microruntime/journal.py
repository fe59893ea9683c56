"""The events of a run, numbered as they happen."""

from collections.abc import Callable, Mapping
from typing import Any

from residentkv.contract.events import Event, make_event


class Journal:
    """Writes events.

    Parameters
    ----------
    run : run_id, policy and usable_blocks.
    clock : nanoseconds; the only source of time.
    write : takes each event.
    """

    def __init__(self, run: Mapping[str, Any], clock: Callable[[], int], write: Callable[[Event], None]) -> None:
        self._run = run
        self._write = write
        self.clock = clock
        self.num_events = 0

    def say(self, name: str, values: Mapping[str, Any], **more: Any) -> None:
        """Write one event."""
        self.num_events += 1
        stamp = {"event_sequence": self.num_events, "timestamp_ns": self.clock()}
        self._write(make_event(name, {**self._run, **stamp, **values, **more}))
