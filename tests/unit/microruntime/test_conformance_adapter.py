"""The reference model passes what it is the model of."""

import json
from pathlib import Path

import pytest

from residentkv.conformance.gates.offload import judge
from residentkv.conformance.litmus import ALL
from residentkv.conformance.litmus.base import Litmus, ManualClock
from residentkv.conformance.suite import Suite
from residentkv.conformance.workload import IDENTITY, claim, extended, text
from residentkv.contract.claim import ProtectionMode
from residentkv.contract.protocol import ConformanceRuntime, FutureReuse, RestorationFault, RuntimeOptions
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


# --- offload and restore ---


def offloaded(path: Path, **claims: tuple[int, ...]) -> ConformanceRuntime:
    """A runtime that moved every claim to the host."""
    runtime = create(RuntimeOptions(16, IDENTITY, path, "run", "policy", ManualClock()))
    for claim_id, tokens in claims.items():
        runtime.submit(claim(claim_id, tokens, ProtectionMode.OFFLOADABLE))
        runtime.serve(f"seed of {claim_id}", tokens, FutureReuse.ADMIT)
    for claim_id in claims:
        runtime.offload(claim_id)
    return runtime


def test_offload_restore_and_reuse_come_in_order_and_in_one_generation(tmp_path: Path):
    path, tokens = tmp_path / "trace.jsonl", text("resident", 4)
    runtime = offloaded(path, c=tokens)
    runtime.serve("reuse", extended(tokens), FutureReuse.ADMIT)
    runtime.close()
    evidence = judge(path, claim_id="c").ordered_evidence
    for role in ("accepted", "materialized", "offloaded", "restore_required", "restored", "reuse_after_restore"):
        assert evidence[role] is not None, role


@pytest.mark.parametrize("fault", RestorationFault)
def test_a_failed_restore_ends_in_an_outcome_and_a_refusal(fault: RestorationFault, tmp_path: Path):
    path, tokens = tmp_path / "trace.jsonl", text("resident", 4)
    runtime = offloaded(path, c=tokens)
    runtime.inject("c", 1, fault)
    runtime.serve("reuse", extended(tokens), FutureReuse.ADMIT)
    runtime.close()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    names = [event["event"] for event in events]
    after = names[names.index("resident_claim_restoration_failed") + 1 :]
    assert after == [*(["resident_claim_demoted"] if fault.is_permanent else []), "active_request_refused"]
    assert events[-1]["blocking_claim_ids"] == ["c"]


def test_of_two_overlapping_claims_only_the_failed_one_is_named(tmp_path: Path):
    path, shared = tmp_path / "trace.jsonl", text("resident", 2)
    failing, bystander = (*shared, *text("active", 2)), (*shared, *text("other", 2))
    runtime = offloaded(path, failing=failing, bystander=bystander)
    runtime.inject("failing", 3, RestorationFault.CHECKSUM_MISMATCH)
    runtime.serve("reuse", extended(failing), FutureReuse.ADMIT)
    runtime.serve("other", extended(bystander), FutureReuse.ADMIT)
    runtime.close()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    failed = [event for event in events if event["event"] == "resident_claim_restoration_failed"]
    [refused] = [event for event in events if event["event"] == "active_request_refused"]
    assert [event["outcome_claim_id"] for event in failed] == ["failing"]
    assert refused["blocking_claim_ids"] == ["failing"]
    assert refused["feasibility"] == "infeasible_restore_claimed_kv"
    served = [event for event in events if event["event"] == "active_request_admitted"][-1]
    assert (served["request_id"], served["reused_blocks"]) == ("other", 4)
