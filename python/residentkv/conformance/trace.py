"""Reading and writing traces in the format of contract.md section 6. Nothing here trusts the writer."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from residentkv.contract.claim import ProtectionMode
from residentkv.contract.events import Event, event_problem

# What the values an observer computes with must be, where they are not null.
_TYPES: Final[dict[str, type]] = {
    "request_id": str,
    "claim_id": str,
    "materialization_predicate": str,
    "protection_mode": str,
    "physical_block_id": int,
    "logical_block_position": int,
    "blocking_claim_ids": list,
}
_MODES: Final = frozenset(mode.value for mode in ProtectionMode)


@dataclass(frozen=True, slots=True)
class Trace:
    """The usable events of one run, ordered by `event_sequence`, and what is wrong with the rest."""

    events: tuple[Event, ...]
    problems: tuple[str, ...]


def read_trace(path: Path) -> Trace:
    """Read a trace. Broken lines become problems that name the line; they never raise. O(events log events).

    Raises
    ------
    OSError : the file cannot be read.
    """
    events: list[Event] = []
    problems: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        parsed = _parse(line)
        problem = parsed if isinstance(parsed, str) else event_problem(parsed) or _value_problem(parsed)
        if problem is not None:
            problems.append(f"line {number}: {problem}")
        elif not isinstance(parsed, str):
            events.append(parsed)
    events.sort(key=lambda event: int(event["event_sequence"]))
    return Trace(tuple(events), (*problems, *_run_problems(events)))


def write_trace(path: Path, events: Sequence[Event]) -> None:
    """Write `events` as JSON Lines."""
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")


def file_sha256(path: Path) -> str:
    """Hex digest of the file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parse(line: str) -> dict[str, Any] | str:
    try:
        parsed = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not JSON: {error}"
    return parsed if isinstance(parsed, dict) else "not a JSON object"


def _value_problem(event: Event) -> str | None:
    """Say which value an observer could not work with, or None."""
    sequence = event["event_sequence"]
    if type(sequence) is not int or sequence < 0:
        return f"event_sequence is {sequence!r}, not a count"
    for field, kind in _TYPES.items():
        value = event.get(field)
        if value is not None and type(value) is not kind:
            return f"{field} is {value!r}, not {kind.__name__}"
    if not all(isinstance(claim_id, str) for claim_id in event.get("blocking_claim_ids") or ()):
        return "blocking_claim_ids are not all names"
    mode = event.get("protection_mode")
    if mode is not None and mode not in _MODES:
        return f"protection_mode {mode!r} is unknown"
    return None


def _run_problems(events: Sequence[Event]) -> list[str]:
    """What makes ordered events not the trace of one run."""
    problems = [
        f"event_sequence {earlier['event_sequence']} appears twice"
        for earlier, later in pairwise(events)
        if earlier["event_sequence"] == later["event_sequence"]
    ]
    for field in ("run_id", "policy", "usable_blocks"):
        values = {json.dumps(event[field]) for event in events}
        if len(values) > 1:
            problems.append(f"one trace names several {field}: {', '.join(sorted(values))}")
    return problems
