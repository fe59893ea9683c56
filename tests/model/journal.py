"""The events of one call, taken one by one: each has to be the one that the model expects next."""

from collections import deque
from typing import Any

from tests.support.native import Event


class Journal:
    def __init__(self) -> None:
        self._pending: deque[Event] = deque()
        self._last_sequence = 0
        self.history: list[Event] = []

    def add(self, events: list[Event]) -> None:
        for event in events:
            assert event.sequence == self._last_sequence + 1, "event numbers have gaps or repeat"
            self._last_sequence = event.sequence
        self._pending.extend(events)
        self.history.extend(events)

    def take(self, name: str, **fields: Any) -> Event:
        """The next event, which must have this name and these fields."""
        assert self._pending, f"{name} {fields} is missing"
        event = self._pending.popleft()
        seen = {field: getattr(event, field) for field in fields}
        assert (event.name, seen) == (name, fields), f"expected {name} {fields}, got {event}"
        return event

    def close(self) -> None:
        assert not self._pending, f"unexpected: {self._pending[0]}"
