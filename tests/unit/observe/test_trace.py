from pathlib import Path

import pytest

from residentkv.contract.errors import ContractError
from residentkv.observe.trace import iterate_trace, read_trace


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace.jsonl"


def test_events_come_back_in_file_order(trace: Path):
    trace.write_text('{"event": "b"}\n\n  \n{"event": "a", "text": "\\u00e9"}')
    assert read_trace(trace) == [{"event": "b"}, {"event": "a", "text": "é"}]
    assert read_trace(str(trace)) == list(iterate_trace(trace))


def test_an_empty_file_is_an_empty_trace(trace: Path):
    trace.write_text("")
    assert read_trace(trace) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not JSON"),
        (b'{"event": "a"} {}', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "an event is a JSON object, got list"),
        (b"null", "an event is a JSON object, got NoneType"),
    ],
)
def test_a_bad_line_is_named(trace: Path, line: bytes, message: str):
    trace.write_bytes(b'{"event": "a"}\n\n' + line + b"\n")
    with pytest.raises(ContractError, match=rf"trace.jsonl:3: {message}"):
        read_trace(trace)


def test_a_missing_file_is_an_os_error(trace: Path):
    with pytest.raises(FileNotFoundError):
        read_trace(trace)
