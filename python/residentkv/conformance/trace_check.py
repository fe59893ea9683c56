"""`residentkv trace check`: whether a trace keeps the format and agrees with itself, line by line.

Schema (fields and their kinds), sequence (one strictly rising counter, one run), the transition table, and accounting.
It trusts nothing and knows no runtime. Events of other names are counted and left alone, unless they look like ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from residentkv.conformance.gates.trace_lines import read_events
from residentkv.conformance.trace_accounts import record_problems, survival_problems, type_problems
from residentkv.conformance.trace_claims import ClaimLives
from residentkv.contract.events import EVENT_FIELDS, Event, canonical_name, event_problem, is_claim_event

_ONE_RUN: Final = ("run_id", "policy", "usable_blocks")
_OUR_PREFIXES: Final = ("resident_", "active_", "future_reuse_", "allocation_")
_DECISIONS: Final = ("active_request_admitted", "active_request_deferred", "active_request_refused")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and where. `event_sequence` as the line has it."""

    line: int
    event_sequence: Any
    message: str

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON values."""
        return {"line": self.line, "event_sequence": self.event_sequence, "message": self.message}


class TraceCheck:
    """One pass over a trace. Memory: its claims and their blocks, not its length.

    Parameters
    ----------
    progress : called with the number of lines read, every few thousand lines.
    """

    def __init__(self, path: str | Path, progress: Callable[[int], object] = lambda _line: None) -> None:
        self.num_events = 0
        self.num_unknown = 0
        self._path = path
        self._progress = progress
        self._lives = ClaimLives()
        self._last: int | None = None
        self._run: dict[str, Any] = {}

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, in file order.

        Raises
        ------
        UnreadableTrace : the file is no trace (`read_events`).
        """
        for line, event in read_events(self._path):
            if line % 4096 == 0:
                self._progress(line)
            for message in self._problems(event):
                yield Finding(line, event.get("event_sequence"), message)

    def _problems(self, event: Event) -> Iterator[str]:
        name = canonical_name(event)
        if name not in EVENT_FIELDS and not name.startswith(_OUR_PREFIXES):
            self.num_unknown += 1
            return
        self.num_events += 1
        problem = event_problem(event)
        if problem is not None:
            yield problem
        problems = list(type_problems(event))
        yield from problems
        if problem is not None or problems:
            return  # there is nothing to compute with
        yield from self._sequence_problems(event)
        if is_claim_event(name):
            yield from survival_problems(event)
            yield from self._lives.take(name, event)
        elif name in _DECISIONS:
            yield from record_problems(event)
            yield from self._lives.decide(event)
        elif name == "allocation_victim_selected":
            yield from self._lives.evict(event)

    def _sequence_problems(self, event: Event) -> Iterator[str]:
        sequence = event["event_sequence"]
        if self._last is not None and sequence <= self._last:
            yield f"event_sequence {sequence} follows {self._last}"
        self._last = sequence
        for name in _ONE_RUN:
            known = self._run.setdefault(name, event[name])
            if event[name] != known:
                yield f"{name} is {event[name]!r:.80}, the trace began with {known!r:.80}"
