"""Reading a trace: a file of events, one JSON object a line."""

import json
from collections.abc import Iterator
from pathlib import Path

from residentkv.contract.errors import ContractError
from residentkv.contract.events import Event


def read_trace(path: str | Path) -> list[Event]:
    """Every event of a trace, in file order. Blank lines are skipped; nothing else is judged.

    Raises
    ------
    ContractError : a line is not a JSON object in UTF-8; the message names file and line.
    OSError : the file can not be read.
    """
    return list(iterate_trace(path))


def iterate_trace(path: str | Path) -> Iterator[Event]:
    """As `read_trace`, one event at a time; O(longest line) memory."""
    path = Path(path)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _parsed(line, f"{path}:{number}")


def _parsed(line: bytes, place: str) -> Event:
    try:
        event = json.loads(line)
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ContractError(f"{place}: not JSON: {error}") from None
    if not isinstance(event, dict):
        raise ContractError(f"{place}: an event is a JSON object, got {type(event).__name__}")
    return event
