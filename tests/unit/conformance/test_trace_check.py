"""`trace check`: honest traces of the native runtime are clean, and each kind of lie is found on its line."""

import pytest

from residentkv.conformance.runtimes import load_factory
from residentkv.conformance.suite import Suite
from residentkv.conformance.trace import read_trace
from residentkv.conformance.trace_check import TraceCheck
from residentkv.contract.events import make_event
from unit.conformance.gates.writer import numbered, write

# Traces that the suite's controls falsify so that one line contradicts another. The other controls leave something out,
# or are honest about a runtime that was told to behave badly; only a litmus can hold that against them.
FALSIFIED = {
    "C1-soft-priority-called-hard",
    "L1-harm-without-acceptance",
    "L2-claim-never-accepted",
    "L3-bystander-named",
    "L3-claim-named-after-the-fact",
    "L3-claimed-block-evicted",
    "L4-end-after-the-loss",
    "L4-end-not-reported",
    "L4-loss-called-harm",
    "L5-end-after-the-loss",
    "L5-end-not-reported",
    "L5-loss-called-harm",
    "L6-claim-never-accepted",
    "L6-still-called-materialized",
    "L7-acceptance-missing",
    "L7-claims-named-after-the-fact",
    "L7-identity-changed",
    "L7-materialization-missing",
    "L7-order-missing",
}


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traces")
    assert Suite(load_factory("native"), folder).run().conforms
    return {path.stem: path for path in folder.glob("*.jsonl") if path.stat().st_size > 0}


def messages(path):
    return [finding.message for finding in TraceCheck(path).findings()]


def test_the_native_runtime_is_clean_and_lies_about_it_are_found(traces):
    assert {"L1", "L7", "C1", "sweep-native-80"} <= set(traces)
    assert {name for name, path in traces.items() if messages(path)} == FALSIFIED


def test_findings_name_line_and_sequence(traces):
    findings = list(TraceCheck(traces["L4-loss-called-harm"]).findings())
    (finding,) = findings
    assert finding.to_json() == {
        "line": 166,
        "event_sequence": 165,
        "message": "claim 'resident': harm is not allowed while demoted",
    }


LIES = {
    "event_sequence": ("refused", {"event_sequence": 1}, "event_sequence 1 follows"),
    "another run": ("refused", {"run_id": "other"}, "run_id is 'other', the trace began with"),
    "another pool": ("refused", {"usable_blocks": 81}, "usable_blocks is 81"),
    "another schema": ("refused", {"schema_version": 2}, "schema_version is 2"),
    "a field that is gone": ("refused", {"feasibility": ...}, "lacks feasibility"),
    "a null": ("accepted", {"cache_identity": None}, "has null cache_identity"),
    "a count that is text": ("refused", {"free_blocks_before_allocate": "20"}, "is '20', not an integer"),
    "a count below zero": ("refused", {"protected_resident_blocks": -1}, "is -1, not a count"),
    "a flag that is a number": ("accepted", {"predicate_materialized": 0}, "is 0, neither true nor false"),
    "a list that is a name": ("refused", {"blocking_claim_ids": "resident"}, "is not a list of names"),
    "a name twice": ("refused", {"blocking_claim_ids": ["resident"] * 2}, "names a claim twice"),
    "an event like ours": ("refused", {"event": "active_request_refuse"}, "unknown event"),
    "a bystander blamed": ("refused", {"blocking_claim_ids": ["bystander"]}, "blocked by claim 'bystander'"),
    "claims that do not stand": ("refused", {"protected_resident_claims": []}, "claims that stand differ by resident"),
    "a union too large": ("refused", {"resident_plus_active_blocks": 131}, "resident_plus_active_blocks is 131"),
    "a union too small": ("refused", {"resident_plus_active_blocks": 69}, "resident_plus_active_blocks is 69"),
    "more protected than there is": ("refused", {"protected_resident_blocks": 81}, "81 protected blocks in a pool"),
    "more held than there is": ("refused", {"active_live_blocks_current": 81}, "81 blocks held"),
    "more free than there is": ("refused", {"free_blocks_before_allocate": 81}, "81 free blocks"),
    "a shortfall of more than all": ("refused", {"capacity_shortfall_blocks": 51}, "capacity_shortfall_blocks is 51"),
    "refused although feasible": ("refused", {"feasibility": "feasible"}, "refused although feasible"),
    "infeasible although it fits": (
        "refused",
        {"active_live_blocks_required": 20},
        "called infeasible with P=60, A=20",
    ),
    "sufficient, protecting nothing": (
        "refused",
        {"sufficient_claim_ids": ["bystander"]},
        "claims that protect nothing",
    ),
    "a predicate too good": ("materialized", {"leading_blocks_survived": 59}, "predicate_materialized is True with 59"),
    "more leading than there are": ("materialized", {"resident_blocks_materialized": 59}, "60 leading blocks survive"),
    "materialized and false": (
        "materialized",
        {"predicate_materialized": False, "leading_blocks_survived": 0},
        "while its predicate is false",
    ),
    "a predicate unheard of": (
        "materialized",
        {"materialization_predicate": "most"},
        "not a materialization predicate",
    ),
    "an object exchanged": ("materialized", {"reusable_object_id": "other"}, "changes reusable_object_id"),
    "a generation skipped": ("accepted", {"lifecycle_generation": 2}, "lifecycle_generation is 2 at acceptance 1"),
    "a generation of another life": ("preserved", {"lifecycle_generation": 2}, "this life is 1"),
}


@pytest.mark.parametrize("case", LIES)
def test_one_changed_number_is_found_on_its_line(traces, tmp_path, case):
    which, changes, message = LIES[case]
    events = [dict(event) for event in read_trace(traces["L3"]).events]
    name = f"active_request_{which}" if which == "refused" else f"resident_claim_{which}"
    at = next(place for place, event in enumerate(events) if event["event"] == name)
    events[at] = {field: value for field, value in {**events[at], **changes}.items() if value is not ...}
    findings = list(TraceCheck(write(tmp_path / "t.jsonl", events)).findings())
    assert any(message in finding.message and finding.line == at + 1 for finding in findings), findings


CLAIM = {
    **dict.fromkeys(("prefix_id", "reusable_object_id", "request_token_map_id", "cache_identity", "predicate_id"), "x"),
    "run_id": "r",
    "policy": "p",
    "usable_blocks": 80,
    "claim_id": "a",
    "materialization_predicate": "leading_prefix_at_least(2)",
    "protection_mode": "offloadable",
    "lifecycle_generation": 1,
    "resident_blocks_required": 2,
    "resident_blocks_materialized": 2,
    "leading_blocks_survived": 2,
    "predicate_materialized": True,
}


def lifecycle(*steps):
    """Events of one claim, by the ends of their names; `offloaded` counts its generations."""
    events, offloads = [], 0
    for step in ("submitted", "accepted", *steps):
        own = {}
        if step == "offloaded":
            offloads += 1
            own = {"offload_generation": offloads}
        if step == "restoration_failed":
            own = {"claim_scoped_outcome_type": "refusal", "outcome_claim_id": "a"}
        if step == "harmed":
            own = {"predicate_before": True, "predicate_after": False}
        events.append(make_event(f"resident_claim_{step}", {**CLAIM, **own}))
    return numbered(events)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (("materialized", "offloaded", "restore_required", "restored", "reuse_after_restore", "released"), None),
        (("materialized", "offloaded", "restore_required", "restoration_failed", "restore_required", "restored"), None),
        (("materialized", "offloaded", "restore_required", "restore_required", "restored", "offloaded"), None),
        (("materialized", "offloaded", "restored"), "restore is not allowed while offloaded"),
        (("offloaded",), "offload is not allowed while accepted"),
        (("materialized", "reuse_after_restore"), "is reused after a restore while materialized"),
        (("materialized", "restore_required"), "must be restored while materialized"),
        (("materialized", "offloaded", "restoration_failed"), "fails to be restored while offloaded"),
        (("released", "materialized"), "materialize is not allowed while released"),
        (("block_lost_after_release",), "lost a block after its end while accepted"),
        (("preserved",), "is called preserved while accepted"),
        (("accepted",), "accept is not allowed while accepted"),
        (("submitted",), "is submitted while accepted"),
    ],
)
def test_the_transition_table(tmp_path, steps, message):
    found = messages(write(tmp_path / "t.jsonl", lifecycle(*steps)))
    assert found == [] if message is None else any(message in text for text in found), found


def test_events_of_other_names_are_left_alone(tmp_path):
    events = [{"event": "offload_store_job_created"}, {"event": 7}, {"note": "nothing"}]
    check = TraceCheck(write(tmp_path / "t.jsonl", events))
    assert list(check.findings()) == []
    assert (check.num_events, check.num_unknown) == (0, 3)


def test_progress_is_told_every_few_thousand_lines(tmp_path):
    seen = []
    check = TraceCheck(write(tmp_path / "t.jsonl", [{"event": "x"}] * 9000), seen.append)
    assert list(check.findings()) == []
    assert seen == [4096, 8192]
