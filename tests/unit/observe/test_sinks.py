import json
from pathlib import Path

import pytest

from residentkv.contract.errors import ContractError
from residentkv.contract.events import EventSink, make_event
from residentkv.observe.sinks import CallbackSink, JsonlSink, MemorySink
from residentkv.observe.trace import read_trace
from residentkv.runtime.event_log import ReadableSink

EVENT = make_event("active_request_refused", {"event_sequence": 1, "request_id": "é\n", "blocking_claim_ids": ["c"]})


def sinks(tmp_path: Path) -> list[EventSink]:
    return [JsonlSink(tmp_path / "trace.jsonl"), MemorySink(), CallbackSink(lambda event: None)]


def test_every_sink_closes_twice_and_has_a_readable_name(tmp_path: Path):
    for sink in sinks(tmp_path):
        sink.write(EVENT)
        sink.flush()
        sink.close()
        sink.close()
        assert repr(sink).startswith(type(sink).__name__)


def test_jsonl_writes_one_object_a_line(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    sink = JsonlSink(str(path))
    for _ in range(2):
        sink.write(EVENT)
    sink.flush()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [EVENT, EVENT]
    sink.close()
    assert read_trace(path) == [EVENT, EVENT]


def test_jsonl_replaces_an_old_file(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    path.write_text("old\n")
    JsonlSink(path).close()
    assert path.read_text() == ""


def test_jsonl_refuses_what_json_has_no_word_for(tmp_path: Path):
    sink = JsonlSink(tmp_path / "trace.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        sink.write({"value": float("nan")})
    sink.close()


def test_jsonl_without_a_folder_fails_at_once(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        JsonlSink(tmp_path / "missing" / "trace.jsonl")


def test_jsonl_can_not_serve_a_second_manager(tmp_path: Path):
    sink = JsonlSink(tmp_path / "trace.jsonl")
    sink.close()
    with pytest.raises(ContractError, match="was closed; a sink serves one manager"):
        sink.write(EVENT)


def test_memory_keeps_order_and_finds_names():
    sink = MemorySink()
    other = make_event("future_reuse_admitted", {})
    for event in (EVENT, other, EVENT):
        sink.write(event)
    assert sink.events == (EVENT, other, EVENT)
    assert sink.named("future_reuse_admitted", "resident_claim_harmed") == (other,)


def test_memory_asks_for_pending_events_until_closed():
    sink = MemorySink()
    assert isinstance(sink, ReadableSink)
    sink.connect(lambda: sink.write(EVENT))
    assert len(sink.events) == 1
    assert len(sink.events) == 2
    sink.close()
    assert len(sink.events) == 2


def test_callback_gets_every_event():
    seen: list[object] = []
    sink = CallbackSink(seen.append)
    sink.write(EVENT)
    assert seen == [EVENT]
    assert not isinstance(sink, ReadableSink)
