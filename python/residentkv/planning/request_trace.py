"""Request traces: who asked when, with which prompt, for how many tokens. JSON Lines, one request a line.

Two forms of a line are read, also mixed in one file:

* Mooncake (FAST'25): `{"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}`, lengths in tokens.
  Equal ids at equal places mean the same 512 tokens, the last id may stand for fewer; there is no text. An id becomes
  512 token ids that no other id shares.
* Token ids: `{"timestamp": ms, "token_ids": [...], "output_length": n}`.
"""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from residentkv.contract.errors import ConfigError

HASHED_TOKENS: Final = 512  # tokens that one id of a Mooncake trace stands for
_MAX_HASH_IDS: Final = 2**31 // HASHED_TOKENS  # token ids are in [0, 2**31)
_NANOSECONDS_PER_MS: Final = 1_000_000
_KNOWN_FIELDS: Final = frozenset({"timestamp", "input_length", "output_length", "hash_ids", "token_ids"})


class TraceError(ConfigError):
    """A trace that can not be read: says the file, the line, what was found and what was expected."""


class Prompt(Protocol):
    """The tokens of one request, made when they are needed: a trace may stand for hundreds of millions."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt, > 0."""

    def tokens(self) -> NDArray[np.int32]:
        """Token ids, [num_tokens] int32. O(tokens)."""

    def chunks(self, block_size: int) -> tuple[Sequence[Hashable], int]:
        """Keys of the prompt's full chunks, in order, and how many tokens each stands for."""


@dataclass(frozen=True, slots=True)
class HashedPrompt:
    """A prompt known by the ids of its 512-token pieces, numbered from 0 in order of appearance."""

    ids: tuple[int, ...]
    num_tokens: int

    def tokens(self) -> NDArray[np.int32]:
        """Token ids, [num_tokens] int32. O(tokens)."""
        first = np.array(self.ids, np.int64)[:, None] * HASHED_TOKENS
        return (first + np.arange(HASHED_TOKENS)).astype(np.int32).reshape(-1)[: self.num_tokens]

    def chunks(self, block_size: int) -> tuple[Sequence[Hashable], int]:
        """The ids of full pieces, whatever the block size."""
        del block_size
        return self.ids[: self.num_tokens // HASHED_TOKENS], HASHED_TOKENS


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """A prompt given token by token."""

    token_ids: NDArray[np.int32]

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self.token_ids)

    def tokens(self) -> NDArray[np.int32]:
        """Token ids, [num_tokens] int32; not a copy."""
        return self.token_ids

    def chunks(self, block_size: int) -> tuple[Sequence[Hashable], int]:
        """The bytes of full blocks."""
        full = self.num_tokens // block_size * block_size
        return [block.tobytes() for block in self.token_ids[:full].reshape(-1, block_size)], block_size


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request: `number` counts the trace's good lines from 0; `num_output_tokens` > 0."""

    number: int
    arrival_ns: int
    prompt: Prompt
    num_output_tokens: int


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """What a file holds.

    Parameters
    ----------
    requests : by arrival.
    skipped : (line number, what was wrong) of the lines left out on demand.
    ignored_fields : names of fields that nothing here reads.
    hash_numbers : what each id of a Mooncake trace is called in its prompts.
    """

    requests: tuple[TraceRequest, ...]
    skipped: tuple[tuple[int, str], ...] = ()
    ignored_fields: frozenset[str] = frozenset()
    hash_numbers: Mapping[Hashable, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Reader:
    hash_numbers: dict[Hashable, int] = field(default_factory=dict)
    ignored_fields: set[str] = field(default_factory=set)
    last_ns: int = 0

    def request(self, line: str, number: int) -> TraceRequest:
        try:
            fields = json.loads(line, parse_constant=_no_constant)
        except RecursionError:
            raise ValueError("nested too deeply to be a request") from None
        if not isinstance(fields, dict):
            raise ValueError(f"expected an object, found {type(fields).__name__}")
        arrival_ns = round(_number(fields, "timestamp", minimum=0) * _NANOSECONDS_PER_MS)
        if arrival_ns < self.last_ns:
            raise ValueError(
                f"timestamp {fields['timestamp']} ms is before the line before it; sort the trace by timestamp"
            )
        request = TraceRequest(number, arrival_ns, self._prompt(fields), _count(fields, "output_length"))
        self.last_ns = arrival_ns
        self.ignored_fields |= fields.keys() - _KNOWN_FIELDS
        return request

    def _prompt(self, fields: Mapping[str, Any]) -> Prompt:
        if "token_ids" in fields:
            ids = fields["token_ids"]
            if not isinstance(ids, list) or not ids or not all(type(i) is int and 0 <= i < 2**31 for i in ids):
                raise ValueError("token_ids must be a non-empty list of ints in [0, 2**31)")
            return TokenPrompt(np.array(ids, np.int32))
        if "hash_ids" not in fields:
            raise ValueError("expected hash_ids or token_ids, found neither")
        num_tokens, ids = _count(fields, "input_length"), fields["hash_ids"]
        if not isinstance(ids, list) or not all(type(i) is int or type(i) is str for i in ids):
            raise ValueError("hash_ids must be a list of ints or strings")
        needed = -(-num_tokens // HASHED_TOKENS)
        if len(ids) != needed:
            raise ValueError(
                f"input_length {num_tokens} needs {needed} hash_ids of {HASHED_TOKENS} tokens, found {len(ids)}"
            )
        numbers = tuple(self.hash_numbers.setdefault(i, len(self.hash_numbers)) for i in ids)
        if len(self.hash_numbers) > _MAX_HASH_IDS:
            raise ValueError(f"more than {_MAX_HASH_IDS} different hash_ids")
        return HashedPrompt(numbers, num_tokens)


def read_requests(
    path: str | Path, *, on_bad_line: Callable[[int, str], None] | None = None, limit: int | None = None
) -> RequestTrace:
    """Read a request trace. O(its size); prompts stay compact.

    Parameters
    ----------
    on_bad_line : called with the line number and what is wrong with it, and the line is left out; None stops there.
    limit : most requests to read; None reads all.

    Raises
    ------
    TraceError : a bad line, no request at all, or no text.
    OSError : the file can not be read.
    """
    reader, requests, skipped = _Reader(), list[TraceRequest](), list[tuple[int, str]]()
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for line_number, line in enumerate(lines, start=1):
                if limit is not None and len(requests) == limit:
                    break
                if not line.strip():
                    continue
                try:
                    requests.append(reader.request(line, len(requests)))
                except ValueError as error:  # json's errors are ValueErrors too
                    if on_bad_line is None:
                        raise TraceError(f"{path}, line {line_number}: {error}") from None
                    on_bad_line(line_number, str(error))
                    skipped.append((line_number, str(error)))
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path}: not UTF-8 text (byte {error.start}); expected JSON Lines, one request a line"
        ) from None
    if not requests:
        raise TraceError(f"{path}: no request in it; expected JSON Lines, one request a line")
    return RequestTrace(tuple(requests), tuple(skipped), frozenset(reader.ignored_fields), reader.hash_numbers)


def _number(fields: Mapping[str, Any], name: str, *, minimum: float) -> float:
    value = fields.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not minimum <= value < 2**53:
        raise ValueError(f"{name} must be a number >= {minimum}, found {value!r}")
    return float(value)


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or not 0 < value < 2**31:
        raise ValueError(f"{name} must be an int > 0, found {value!r}")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
