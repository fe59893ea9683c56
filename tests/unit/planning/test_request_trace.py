import json
from pathlib import Path

import numpy as np
import pytest

from residentkv.planning.request_trace import HASHED_TOKENS, TraceError, read_requests


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def hashed(
    timestamp: float = 0, length: int = 700, ids: tuple[object, ...] = (7, 8), output: int = 3
) -> dict[str, object]:
    return {"timestamp": timestamp, "input_length": length, "output_length": output, "hash_ids": list(ids)}


def test_equal_ids_are_equal_tokens_and_others_share_none(tmp_path: Path):
    trace = read_requests(write(tmp_path / "t", hashed(ids=(7, 8)), hashed(ids=(7, "x"), length=1024)))
    first, second = (request.prompt.tokens() for request in trace.requests)
    assert (len(first), len(second)) == (700, 1024)
    assert first.dtype == np.int32
    assert (first[:HASHED_TOKENS] == second[:HASHED_TOKENS]).all()
    assert not set(first[HASHED_TOKENS:].tolist()) & set(second[HASHED_TOKENS:].tolist())
    assert trace.hash_numbers == {7: 0, 8: 1, "x": 2}


def test_token_ids_are_taken_as_they_are(tmp_path: Path):
    trace = read_requests(write(tmp_path / "t", {"timestamp": 1.5, "token_ids": [5, 6, 7], "output_length": 2}))
    [request] = trace.requests
    assert request.prompt.tokens().tolist() == [5, 6, 7]
    assert (request.arrival_ns, request.num_output_tokens) == (1_500_000, 2)


def test_only_full_chunks_have_keys(tmp_path: Path):
    trace = read_requests(
        write(tmp_path / "t", hashed(), {"timestamp": 0, "token_ids": [1, 2, 3, 4, 5], "output_length": 1})
    )
    by_hash, by_token = (request.prompt for request in trace.requests)
    assert by_hash.chunks(16) == ((0,), 512)
    keys, size = by_token.chunks(2)
    assert (len(keys), size) == (2, 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2"),
        ("[1]", "expected an object, found list"),
        (hashed(timestamp=-1), "timestamp must be a number >= 0, found -1"),
        ('{"timestamp": NaN, "output_length": 1, "token_ids": [1]}', "NaN is not JSON"),
        (hashed(timestamp=4), "timestamp 4 ms is before the line before it"),
        (hashed(output=0, timestamp=9), "output_length must be an int > 0, found 0"),
        (hashed(length=0, timestamp=9), "input_length must be an int > 0, found 0"),
        (hashed(length=2000, timestamp=9), "input_length 2000 needs 4 hash_ids of 512 tokens, found 2"),
        (hashed(ids=(1.5, 2), timestamp=9), "hash_ids must be a list of ints or strings"),
        ({"timestamp": 9, "output_length": 1}, "expected hash_ids or token_ids, found neither"),
        ({"timestamp": 9, "output_length": 1, "token_ids": [-1]}, "token_ids must be a non-empty list"),
        ({"timestamp": True, "output_length": 1, "token_ids": [1]}, "timestamp must be a number"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_a_bad_line_is_named_or_left_out(tmp_path: Path, line: object, message: str):
    path = write(tmp_path / "t", hashed(timestamp=5), line, hashed(timestamp=6))
    with pytest.raises(TraceError, match="line 2") as raised:
        read_requests(path)
    assert message in str(raised.value)
    skipped: list[tuple[int, str]] = []
    trace = read_requests(path, on_bad_line=lambda number, what: skipped.append((number, what)))
    assert [request.arrival_ns for request in trace.requests] == [5_000_000, 6_000_000]
    assert trace.skipped == tuple(skipped)
    assert len(skipped) == 1


def test_unknown_fields_are_reported(tmp_path: Path):
    assert read_requests(write(tmp_path / "t", {**hashed(), "type": "chat"})).ignored_fields == {"type"}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00\x01"])
def test_a_file_without_requests_is_an_error(tmp_path: Path, content: bytes):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(TraceError, match="JSON Lines"):
        read_requests(tmp_path / "t")


def test_limit_stops_reading(tmp_path: Path):
    assert len(read_requests(write(tmp_path / "t", hashed(), hashed(), "{"), limit=2).requests) == 2
