"""The reference model passes what it is the model of."""

import json
from pathlib import Path

import pytest

from residentkv.conformance.litmus import ALL
from residentkv.conformance.litmus.base import Litmus, ManualClock
from residentkv.conformance.suite import Suite
from residentkv.conformance.workload import IDENTITY, claim, text
from residentkv.contract.claim import ProtectionMode
from residentkv.contract.protocol import FutureReuse, RuntimeOptions
from residentkv.microruntime.conformance_adapter import create
from residentkv.runtime.conformance_adapter import create as create_native

KEYS = ("event_sequence", "event", "claim_id", "request_id", "logical_block_position", "physical_block_id")


def test_it_conforms(tmp_path: Path):
    result = Suite(create, tmp_path).run()
    assert result.conforms
    assert all(test.controls for test in result.litmus)
    assert len(result.sweep) == 21


@pytest.mark.parametrize("litmus", ALL, ids=lambda litmus: litmus.id)
def test_its_traces_tell_the_native_runtimes_story(litmus: Litmus, tmp_path: Path):
    stories = []
    for factory in (create, create_native):
        folder = tmp_path / factory.__module__
        folder.mkdir()
        Suite(factory, folder).judge(litmus)
        events = [json.loads(line) for line in (folder / f"{litmus.id}.jsonl").read_text().splitlines()]
        stories.append([[event.get(key) for key in KEYS] for event in events])
    assert stories[0] == stories[1]


def test_a_trace_is_complete_once_closed(tmp_path: Path):
    path = tmp_path / "trace.jsonl"
    runtime = create(RuntimeOptions(8, IDENTITY, path, "run", "policy", ManualClock()))
    runtime.submit(claim("c", text("resident", 2), ProtectionMode.HARD_PROTECTED))
    runtime.serve("r", text("resident", 2), FutureReuse.ADMIT)
    runtime.close()
    names = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert names[:2] == ["resident_claim_submitted", "resident_claim_accepted"]
    assert names[-1] == "resident_claim_materialized"
