"""Reading a trace never trusts and never raises: what is wrong becomes a problem that says where."""

import hashlib
import json

import pytest

from residentkv.conformance.observation import observe
from residentkv.conformance.trace import file_sha256, read_trace, write_trace
from unit.conformance.script import Script


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.jsonl"


@pytest.fixture
def events():
    return Script().accept().materialize().events


def problems(path, events):
    write_trace(path, events)
    return read_trace(path).problems


def test_an_honest_trace_comes_back(path, events):
    assert problems(path, events) == ()
    assert list(read_trace(path).events) == events


def test_order_is_event_sequence_not_line(path, events):
    assert problems(path, events[::-1]) == ()
    assert list(read_trace(path).events) == events


def test_an_empty_file_is_an_empty_trace(path):
    path.touch()
    assert (read_trace(path).events, read_trace(path).problems) == ((), ())


@pytest.mark.parametrize("line", ["{", "[]", "7", "nonsense", ""])
def test_a_broken_line_is_named(path, events, line):
    path.write_text(f"{json.dumps(events[0])}\n{line}\n{json.dumps(events[1])}\n")
    trace = read_trace(path)
    assert len(trace.events) == 2
    assert len(trace.problems) == 1
    assert trace.problems[0].startswith("line 2: not ")


@pytest.mark.parametrize("sequence", ["0", 1.0, -1, True])
def test_order_needs_counts(path, events, sequence):
    events[2]["event_sequence"] = sequence
    assert problems(path, events) == (f"line 3: event_sequence is {sequence!r}, not a count",)


def test_numbers_are_used_once(path, events):
    events[2]["event_sequence"] = 1
    assert problems(path, events) == ("event_sequence 1 appears twice",)


@pytest.mark.parametrize(("field", "value"), [("run_id", "other"), ("policy", "other"), ("usable_blocks", 9)])
def test_a_trace_is_of_one_run(path, events, field, value):
    events[2][field] = value
    assert len(problems(path, events)) == 1
    assert problems(path, events)[0].startswith(f"one trace names several {field}: ")


def test_an_incomplete_event_is_named(path, events):
    del events[1]["claim_registration"]
    assert problems(path, events) == ("line 2: resident_claim_accepted lacks claim_registration",)


@pytest.mark.parametrize(
    ("index", "field", "value", "problem"),
    [
        (0, "claim_id", 7, "claim_id is 7, not str"),
        (0, "materialization_predicate", [], "materialization_predicate is [], not str"),
        (0, "protection_mode", "very_hard", "protection_mode 'very_hard' is unknown"),
        (2, "physical_block_id", "1", "physical_block_id is '1', not int"),
        (5, "blocking_claim_ids", "a", "blocking_claim_ids is 'a', not list"),
        (5, "blocking_claim_ids", [["a"]], "blocking_claim_ids are not all names"),
    ],
)
def test_a_value_nobody_can_work_with_is_named(path, index, field, value, problem):
    events = Script().accept().materialize().add("active_request_refused", request_id="r").events
    events[index][field] = value
    assert problems(path, events) == (f"line {index + 1}: {problem}",)


@pytest.mark.parametrize("value", [None, True, 7, -1.5, "x", [], ["x"], [[]], {}, {"x": []}], ids=repr)
def test_no_value_anywhere_makes_the_observer_raise(path, value):
    script = Script().accept().materialize().victim(0).claim("claim_harmed").claim("claim_block_lost_after_release")
    script.add("active_request_refused", request_id="r", blocking_claim_ids=["a"])
    for index, event in enumerate(script.events):
        for field in event:
            broken = [*script.events]
            broken[index] = {**event, field: value}
            write_trace(path, broken)
            observe(read_trace(path))


def test_digest_is_of_the_file(path, events):
    write_trace(path, events)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
