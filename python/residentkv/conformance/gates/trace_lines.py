"""Reading a trace that nobody vouches for: every line is parsed, and a file with one bad line is no trace.

No line is skipped unparsed: a line that a quick look takes for irrelevant may be half of one that is not. JSON leaves
open what a repeated key means, so a line with one says different things to different readers; it is refused.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import orjson

from residentkv.contract.errors import ResidentKVError

MAX_LINE_BYTES: Final = 16 * 1024 * 1024  # the memory that one line may take; a conflict of 100,000 claims fits
_CHUNK_BYTES: Final = 1024 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"
_SPACED_COLONS: Final = (b" :", b"\t:", b"\r:")


class UnreadableTrace(ResidentKVError):
    """The input is not a trace. The message says which file, which line and why."""


def read_events(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every event with its line number (from 1), in file order. Blank lines are skipped.

    Reads a pipe as well as a file, once. O(longest line) memory.

    Raises
    ------
    UnreadableTrace : no such file, a directory, no permission; a line that is not one JSON object in UTF-8 with
        distinct keys and finite numbers, or longer than MAX_LINE_BYTES; or no event at all.
    """
    path = Path(path)
    number = 0
    is_empty = True
    try:
        for lines in _line_blocks(path):
            for line in lines:
                number += 1
                try:
                    event = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    if not line.strip():
                        continue
                    _refuse_line(path, number, line, f"not JSON: {error}")
                if type(event) is not dict:
                    _refuse_line(path, number, line, f"an event is a JSON object, got {_kind(event)}")
                if line.count(b":") != len(event) and _may_repeat_a_key(line, event):
                    _refuse_repeated_key(path, number, line)
                is_empty = False
                yield number, event
    except OSError as error:
        raise UnreadableTrace(f"{path}: {error.strerror or error}") from None
    except _LineTooLong:
        raise UnreadableTrace(f"{path}:{number + 1}: longer than {MAX_LINE_BYTES} bytes") from None
    except ValueError as error:  # a path with a NUL byte
        raise UnreadableTrace(f"{path!s:.200}: {error}") from None
    if is_empty:
        raise UnreadableTrace(f"{path}: holds no event")


class _LineTooLong(Exception):
    """The lines before it have been yielded."""


def _line_blocks(path: Path) -> Iterator[list[bytes]]:
    """Yield the file's lines, many at a time, without their line feeds."""
    rest = b""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            head, *lines = chunk.split(b"\n")
            if not lines:
                rest += head
                if len(rest) > MAX_LINE_BYTES:
                    raise _LineTooLong
                continue
            tail = lines.pop()
            yield [rest + head, *lines]
            rest = tail
    if rest:
        yield [rest]


def _may_repeat_a_key(line: bytes, event: dict[str, Any]) -> bool:
    """Whether the line has more keys than the parsed event: never False for a line that repeats one.

    Every key is followed by a colon of its own. So with as many colons as distinct keys, no key is there twice. Strings
    may hold colons; then those that follow a quotation mark are counted, as long as no white space can hide one.
    """
    num_braces, identity = line.count(b"{"), event.get("cache_identity")
    if num_braces == 1:
        num_keys = len(event)
    elif num_braces == 2 and type(identity) is dict:  # the one object inside most events of ours
        num_keys = len(event) + len(identity)
    else:
        num_keys = _num_keys(event)
    if line.count(b":") == num_keys:
        return False
    return any(spaced in line for spaced in _SPACED_COLONS) or line.count(b'":') != num_keys


def _num_keys(value: dict[str, Any]) -> int:
    """How many keys an object and those inside it have together. As deep as the parser went, at most 1024 levels."""
    pending: list[object] = [value]
    num_keys = 0
    while pending:
        item = pending.pop()
        if type(item) is dict:
            num_keys += len(item)
            inner: Iterable[object] = item.values()
        else:
            assert type(item) is list
            inner = item
        pending += [value for value in inner if type(value) is dict or type(value) is list]
    return num_keys


def _refuse_repeated_key(path: Path, number: int, line: bytes) -> None:
    """Parse once more, slowly, and raise if a key really is there twice."""

    def distinct(pairs: list[tuple[str, Any]]) -> None:
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise UnreadableTrace(f"{path}:{number}: key {repeated!r:.80} appears twice")

    try:
        json.loads(line, object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        raise UnreadableTrace(f"{path}:{number}: not JSON: {error}") from None


def _refuse_line(path: Path, number: int, line: bytes, reason: str) -> NoReturn:
    if number == 1 and line.startswith(_GZIP_MAGIC):
        reason = "compressed with gzip; unpack it first"
    elif b"\0" in line:
        reason = "not text: it holds NUL bytes"
    raise UnreadableTrace(f"{path}:{number}: {reason}") from None


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
