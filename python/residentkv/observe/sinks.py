"""Where events can go. Any object with write, flush and close will do; these three are ready made."""

import json
from collections.abc import Callable
from pathlib import Path

from residentkv.contract.errors import ContractError
from residentkv.contract.events import Event


class JsonlSink:
    """Writes one JSON object a line to a file, which it replaces.

    Parameters
    ----------
    path : file to write; its folder must exist.

    Raises
    ------
    OSError : the file can not be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = self.path.open("w", encoding="utf-8")

    def write(self, event: Event) -> None:
        """Append one line.

        Raises
        ------
        ContractError : the sink was closed.
        """
        if self._file.closed:
            raise ContractError(f"the sink for {self.path} was closed; a sink serves one manager")
        self._file.write(json.dumps(event, separators=(",", ":"), allow_nan=False))
        self._file.write("\n")

    def flush(self) -> None:
        """Hand buffered lines to the operating system."""
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Flush and close the file. Idempotent."""
        self._file.close()

    def __repr__(self) -> str:
        return f"JsonlSink({str(self.path)!r})"


class MemorySink:
    """Keeps events in a list. Reading `events` first fetches what the manager still holds back."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._pull: Callable[[], object] | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event so far, in order. O(events)."""
        if self._pull is not None:
            self._pull()
        return tuple(self._events)

    def named(self, *names: str) -> tuple[Event, ...]:
        """The events so far that have one of these names, in order. O(events)."""
        return tuple(event for event in self.events if event["event"] in names)

    def connect(self, pull: Callable[[], object]) -> None:
        """Take the manager's call that delivers pending events."""
        self._pull = pull

    def write(self, event: Event) -> None:
        """Keep one event."""
        self._events.append(event)

    def flush(self) -> None:
        """Nothing to do: what was written is visible."""

    def close(self) -> None:
        """Let go of the manager; the events stay."""
        self._pull = None

    def __repr__(self) -> str:
        return f"MemorySink({len(self._events)} events)"


class CallbackSink:
    """Calls a function with each event. What the function raises disables the sink."""

    def __init__(self, function: Callable[[Event], object]) -> None:
        self._function = function

    def write(self, event: Event) -> None:
        """Call the function."""
        self._function(event)

    def flush(self) -> None:
        """Nothing to do: the function has seen every event."""

    def close(self) -> None:
        """Nothing to do."""

    def __repr__(self) -> str:
        return f"CallbackSink({self._function!r})"
