"""What is no trace: one message with file, line and reason, and never an event that a reader could take two ways."""

import json
import os
import time
import tracemalloc

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from residentkv.conformance.gates import UnreadableTrace, connector, offload
from residentkv.conformance.gates.trace_lines import MAX_LINE_BYTES, read_events
from unit.conformance.gates.writer import offload_lifecycle

GOOD = b'{"event":"x"}\n'
UNREADABLE = {
    "empty": (b"", "holds no event"),
    "blank lines": (b"\n \n\r\n", "holds no event"),
    "broken": (GOOD + b'{"event":"resident_claim_acc\n', ":2: not JSON"),
    "cut short": (GOOD + GOOD[:-3], ":2: not JSON"),
    "two values": (GOOD.strip() * 2, ":1: not JSON"),
    "NaN": (GOOD + b'{"a":NaN}', ":2: not JSON"),
    "Infinity": (b'{"a":-Infinity}', ":1: not JSON"),
    "a list": (GOOD + b"[1]\n", ":2: an event is a JSON object, got list"),
    "null": (b"null\n", ":1: an event is a JSON object, got null"),
    "a string": (b'"event"', ":1: an event is a JSON object, got str"),
    "key twice": (GOOD + b'{"claim_id":"a","claim_id":null}', ":2: key 'claim_id' appears twice"),
    "key twice, spaced": (b'{"claim_id" :"a","claim_id":null}', ":1: key 'claim_id' appears twice"),
    "key twice, escaped": (b'{"claim_id":"a","cl\\u0061im_id":null}', ":1: key 'claim_id' appears twice"),
    "key twice, balanced by spaces": (
        b'{"claim_id":"a","claim_id"\t:null,"b":":"}',
        ":1: key 'claim_id' appears twice",
    ),
    "key twice, in an identity": (b'{"cache_identity":{"b":1,"b":2}}', ":1: key 'b' appears twice"),
    "identity twice": (b'{"cache_identity":{"b":1},"cache_identity":{}}', ":1: key 'cache_identity' appears twice"),
    "key twice, inside": (b'{"a":[{"b":1,"b":2}]}', ":1: key 'b' appears twice"),
    "not UTF-8": (b'{"a":"\xff"}', ":1: not JSON"),
    "lone surrogate": (b'{"a":"\\ud800"}', ":1: not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, ":1: not JSON"),
    "binary": (bytes(range(256)), ":1: not text"),
    "a program": (b"\x7fELF\0\0\0\0", ":1: not text"),
    "gzip": (b"\x1f\x8b\x08\0\0\0", ":1: compressed with gzip; unpack it first"),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ":1: not JSON"),
    "huge line": (GOOD + b'{"a":"' + b"x" * (MAX_LINE_BYTES + 1) + b'"}', f":2: longer than {MAX_LINE_BYTES} bytes"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_one_message_says_which_line_and_why(tmp_path, case):
    content, message = UNREADABLE[case]
    path = tmp_path / "trace.jsonl"
    path.write_bytes(content)
    with pytest.raises(UnreadableTrace) as caught:
        offload.judge(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 400 + len(str(path))


def test_files_that_can_not_be_read(tmp_path):
    with pytest.raises(UnreadableTrace, match="No such file"):
        offload.judge(tmp_path / "nothing.jsonl")
    with pytest.raises(UnreadableTrace, match="Is a directory"):
        offload.judge(tmp_path)
    with pytest.raises(UnreadableTrace, match="null byte"):
        offload.judge("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.touch(mode=0)
    with pytest.raises(UnreadableTrace, match="Permission denied"):
        offload.judge(path)


def test_blank_lines_and_windows_line_ends_are_harmless(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"\r\n" + GOOD.replace(b"\n", b"\r\n") + b"\n  \n" + GOOD.strip())
    assert [line for line, _ in read_events(path)] == [2, 5]


def test_lines_over_several_reads_keep_their_numbers(tmp_path):
    path = tmp_path / "trace.jsonl"
    events = [{"event": "x", "n": n, "pad": "y" * (n * 7919 % 3_000_000)} for n in range(6)]
    path.write_text("\n".join(json.dumps(event) for event in events))
    assert list(read_events(path)) == list(enumerate(events, start=1))


def test_a_pipe_will_do():
    source, sink = os.pipe()
    os.write(sink, GOOD)
    os.close(sink)
    try:
        assert list(read_events(f"/dev/fd/{source}")) == [(1, {"event": "x"})]
    finally:
        os.close(source)


def _spelled(pairs, gaps):
    body = ",".join(
        f"{gap}{json.dumps(key)}{gap}:{json.dumps(value)}" for (key, value), gap in zip(pairs, gaps, strict=True)
    )
    return f"{{{body}}}".encode()


_KEYS = st.sampled_from(["claim_id", "cache_identity", ":", '":', "{", "é", ' "'])
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from([":", '":', '"a" :', "{", "\t:", "\\"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pairs=st.lists(st.tuples(_KEYS, _VALUES), max_size=5),
    gaps=st.lists(st.sampled_from(["", " ", "\t", "\r"]), min_size=5),
)
@example(pairs=[("claim_id", 1), ("claim_id", 2), ("b", ":")], gaps=["", " ", "", "", ""])
def test_a_line_is_read_exactly_if_no_key_is_there_twice(tmp_path, pairs, gaps):
    line = _spelled(pairs, gaps[: len(pairs)])
    path = tmp_path / "t.jsonl"
    path.write_bytes(line)
    if len(dict(pairs)) == len(pairs):
        assert list(read_events(path)) == [(1, dict(pairs))]
    else:
        with pytest.raises(UnreadableTrace, match="appears twice"):
            list(read_events(path))


def test_no_spelling_hides_a_claim_event(tmp_path):
    """Odd spacing, escapes and order of keys: the gate parses every line, whatever it looks like."""
    path = tmp_path / "trace.jsonl"
    lines = []
    for number, event in enumerate(offload_lifecycle()):
        pairs = list(event.items())[::-1]
        gap = " \t"[number % 2]
        body = f"{gap},{gap}".join(f"{_escaped(key)}{gap}:{gap}{_escaped(value)}" for key, value in pairs)
        lines.append(f"{gap}{{{body}}}{gap}")
    path.write_text("\n".join(lines))
    assert offload.judge(path).passed


def _escaped(value):
    if isinstance(value, str):
        return '"' + "".join(f"\\u{ord(letter):04x}" for letter in value) + '"'
    return json.dumps(value)


def test_memory_does_not_grow_with_events_about_no_claim(tmp_path):
    path = tmp_path / "trace.jsonl"
    filler = orjson.dumps({"event": "allocation_victim_selected", "claim_id": None, "pad": "x" * 500}) + b"\n"
    peaks = []
    for num_lines in (20_000, 80_000):
        path.write_bytes(filler * num_lines)
        tracemalloc.start()
        offload.judge(path)
        connector.judge(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 20 * 2**20


def test_reading_costs_little_more_than_parsing(tmp_path):
    """A ratio within one run: everything the gate does to a line against the parser alone (measured: 1.5 to 2.5)."""
    path = tmp_path / "trace.jsonl"
    victim = {
        "schema_version": 1, "event": "allocation_victim_selected", "event_sequence": 0, "timestamp_ns": 5,
        "run_id": "r", "policy": "relax", "request_id": "r1", "claim_id": None, "usable_blocks": 80,
        "physical_block_id": 3, "logical_block_position": 4, "is_protected_resident": False, "victim_reason": "cached",
    }  # fmt: skip
    path.write_bytes(b"".join(orjson.dumps({**victim, "event_sequence": n}) + b"\n" for n in range(20_000)))
    lines = path.read_bytes().splitlines()

    def best(work):
        taken = []
        for _ in range(3):
            start = time.process_time()
            work()
            taken.append(time.process_time() - start)
        return min(taken)

    alone = best(lambda: [orjson.loads(line) for line in lines])
    gate = best(lambda: offload.judge(path))
    assert gate < 8 * alone
