"""The connector gate: three verdicts about a serving engine's own events, and each way to fall short has its name."""

import pytest

from residentkv.conformance.gates import connector
from residentkv.conformance.gates.connector import ATTRIBUTION_REQUIREMENTS
from residentkv.conformance.gates.connector_failure import FAILURE_REQUIREMENTS
from residentkv.conformance.gates.connector_life import OBSERVATION_REQUIREMENTS
from residentkv.conformance.gates.evidence import IDENTITY_FIELDS
from unit.conformance.gates.writer import (
    connector_life,
    crowd,
    edited,
    numbered,
    offload_lifecycle,
    place_of,
    swapped,
    without,
    write,
)

INITIALIZED, STORE, COMPLETED = "request_initialized", "offload_store_job_created", "offload_job_completed"
COPY, LOOKUP, REQUIRED = "offload_worker_transfer_finished", "offload_lookup_result", "resident_claim_restore_required"
LOAD, RESTORED, LOAD_FAILED = "offload_load_job_created", "resident_claim_restored", "offload_load_job_failed"
FAILED, REFUSED = "resident_claim_restoration_failed", "active_request_refused"
S_FAILED, S_REFUSED = "scheduler_resident_claim_restoration_failed", "scheduler_active_request_refused"
NO_PENDING, PENDING = "offload_request_finished_no_pending_jobs", "offload_request_finished_pending_jobs"

O_META, O_AMBIGUOUS, O_STORE, O_LOOKUP, O_RESTORE, O_ORDERING = OBSERVATION_REQUIREMENTS
(
    F_META, F_AMBIGUOUS, F_STORE, F_REQUIRED, F_LOAD, F_SCOPED, F_REFUSED, F_S_FAILED, F_S_REFUSED, F_MATCH,
    F_TERMINATION, F_NATIVE, F_RECOMPUTE, F_ORDER,
) = FAILURE_REQUIREMENTS  # fmt: skip
A_TARGET, A_SCHEDULER, A_BLOCKING, A_OTHERS, A_SPARED = ATTRIBUTION_REQUIREMENTS

LIFE, CROWD = connector_life(), crowd()
RESTORE_ONLY = connector_life(fails=False)

OBSERVATION = {
    "never initialized": (O_META, [event for event in LIFE if event["event"] != INITIALIZED]),
    "two token maps": (O_AMBIGUOUS, edited(LIFE, STORE, {"request_token_map_id": "b-tokens"})),
    "two objects": (O_AMBIGUOUS, edited(LIFE, LOAD, {"reusable_object_id": "b-object"}, 1)),
    "two predicates": (O_AMBIGUOUS, edited(LIFE, RESTORED, {"predicate_id": "easier"})),
    "two lives": (
        O_AMBIGUOUS,
        edited(edited(LIFE, STORE, {"lifecycle_generation": 1}), LOAD, {"lifecycle_generation": 2}),
    ),
    "store not created": (O_STORE, without(LIFE, STORE)),
    "store did not arrive": (O_STORE, edited(LIFE, COPY, {"success": False})),
    "store copied elsewhere": (O_STORE, edited(LIFE, COPY, {"transfer_type": ["GPU", "GPU"]})),
    "store not completed": (O_STORE, without(LIFE, COMPLETED)),
    "another job completed": (O_STORE, edited(LIFE, COMPLETED, {"job_id": 9})),
    "store completed before its copy": (O_STORE, swapped(LIFE, (COPY, 0), (COMPLETED, 0))),
    "a miss": (O_LOOKUP, edited(RESTORE_ONLY, LOOKUP, {"num_hit_tokens": 0})),
    "a hit, then a miss": (
        O_LOOKUP,
        numbered([*RESTORE_ONLY[:7], {**RESTORE_ONLY[6], "num_hit_tokens": 0}, *RESTORE_ONLY[7:]]),
    ),
    "a hit that loads nothing": (O_LOOKUP, edited(RESTORE_ONLY, LOOKUP, {"will_load_async": False})),
    "not required": (O_LOOKUP, without(RESTORE_ONLY, REQUIRED)),
    "required after the load": (O_LOOKUP, swapped(RESTORE_ONLY, (REQUIRED, 0), (LOAD, 0))),
    "load did not arrive": (O_RESTORE, edited(RESTORE_ONLY, COPY, {"success": None}, 1)),
    "another job arrived": (O_RESTORE, edited(RESTORE_ONLY, COPY, {"job_id": 1}, 1)),
    "not restored": (O_RESTORE, without(RESTORE_ONLY, RESTORED)),
    "restored before the copy": (O_RESTORE, swapped(RESTORE_ONLY, (RESTORED, 0), (COPY, 1))),
    "load not completed": (O_RESTORE, without(RESTORE_ONLY, COMPLETED, 1)),
    "recompute called restore": (O_RESTORE, edited(RESTORE_ONLY, RESTORED, {"restoration_source": "recompute"})),
    "metadata late": (O_ORDERING, numbered([LIFE[1], *(event for event in LIFE if event is not LIFE[1])])),
    "sequence number twice": (O_ORDERING, edited(LIFE, LOOKUP, {"event_sequence": 3})),
    "two runs": (O_ORDERING, edited(LIFE, LOOKUP, {"run_id": "run-2"})),
    "no order": (O_ORDERING, [{**event, "event_sequence": None, "timestamp_ns": None} for event in LIFE]),
}

FAILURE = {
    "never initialized": (F_META, [event for event in LIFE if event["event"] != INITIALIZED]),
    "two cache identities": (F_AMBIGUOUS, edited(LIFE, STORE, {"cache_identity": "b"})),
    "store not completed": (F_STORE, without(LIFE, COMPLETED)),
    "not required": (F_REQUIRED, without(LIFE, REQUIRED, 1)),
    "no hit": (F_REQUIRED, without(LIFE, LOOKUP, 1)),
    "load job did not fail": (F_LOAD, without(LIFE, LOAD_FAILED)),
    "failure not told": (F_SCOPED, without(LIFE, FAILED)),
    "the outcome is a recompute": (F_SCOPED, edited(LIFE, FAILED, {"claim_scoped_outcome_type": "fallback_recompute"})),
    "failure of another claim": (F_SCOPED, edited(LIFE, FAILED, {"outcome_claim_id": "b"})),
    "not refused": (F_REFUSED, without(LIFE, REFUSED)),
    "refused for another claim": (F_REFUSED, edited(LIFE, REFUSED, {"blocking_claim_ids": ["b"]})),
    "refusal names nobody": (F_REFUSED, edited(LIFE, REFUSED, {"blocking_claim_ids": []})),
    "scheduler does not call it one": (F_S_FAILED, edited(LIFE, S_FAILED, {"scheduler_side_failure_outcome": None})),
    "scheduler does not call it its own": (F_S_REFUSED, edited(LIFE, S_REFUSED, {"scheduler_side_refusal": False})),
    "scheduler fails another claim": (F_MATCH, edited(LIFE, S_FAILED, {"outcome_claim_id": "b"})),
    "scheduler refuses for another": (F_MATCH, edited(LIFE, S_REFUSED, {"outcome_claim_id": "b"})),
    "scheduler blocks on nobody": (F_MATCH, edited(LIFE, S_REFUSED, {"blocking_claim_ids": None})),
    "scheduler refuses another request": (F_MATCH, edited(LIFE, S_REFUSED, {"request_id": None})),
    "request not terminated": (F_TERMINATION, without(LIFE, PENDING)),
    "scheduler spoke after the end": (F_TERMINATION, swapped(LIFE, (S_REFUSED, 0), (PENDING, 0))),
    "called an admission refusal": (F_NATIVE, edited(LIFE, S_REFUSED, {"native_scheduler_admission_refusal": True})),
    "does not deny it": (F_NATIVE, edited(LIFE, S_REFUSED, {"native_scheduler_admission_refusal": ...})),
    "connector calls it one": (F_NATIVE, edited(LIFE, REFUSED, {"native_scheduler_admission_refusal": True})),
    "satisfied after the failure": (F_RECOMPUTE, numbered([*LIFE, LIFE[place_of(LIFE, RESTORED)]])),
    "reused after the failure": (
        F_RECOMPUTE,
        numbered([*LIFE, {**LIFE[-1], "event": "resident_claim_reuse_after_restore"}]),
    ),
    "materialized after the failure": (
        F_RECOMPUTE,
        numbered([*LIFE, {**LIFE[-1], "event": "resident_claim_materialized"}]),
    ),
    "refused before the failure": (F_ORDER, swapped(LIFE, (FAILED, 0), (REFUSED, 0))),
    "failure before its job": (F_ORDER, swapped(LIFE, (FAILED, 0), (LOAD_FAILED, 0))),
    "scheduler refused before it failed": (F_ORDER, swapped(LIFE, (S_FAILED, 0), (S_REFUSED, 0))),
    "sequence number twice": (F_ORDER, edited(LIFE, LOOKUP, {"event_sequence": 3})),
    "metadata late": (F_ORDER, numbered([LIFE[1], *(event for event in LIFE if event is not LIFE[1])])),
}

B_RESTORED = next(event for event in CROWD if event["event"] == RESTORED and event["claim_id"] == "b")
B_OUTCOME = {**B_RESTORED, "outcome_claim_id": "b"}
ATTRIBUTION = {
    "target not refused": (A_TARGET, without(CROWD, REFUSED)),
    "a failure of the scheduler that names nobody": (
        A_SCHEDULER,
        numbered([*CROWD, {"event": S_FAILED, "scheduler_side_failure_outcome": True}]),
    ),
    "a failure of the scheduler that names a stranger": (
        A_SCHEDULER,
        numbered([*CROWD, {"event": S_FAILED, "claim_id": "c", "outcome_claim_id": "c"}]),
    ),
    "scheduler smears": (A_BLOCKING, edited(CROWD, S_REFUSED, {"blocking_claim_ids": ["a", "b"]})),
    "connector smears": (A_BLOCKING, edited(CROWD, REFUSED, {"blocking_claim_ids": ["a", "b"]})),
    "failure smears": (A_BLOCKING, edited(CROWD, S_FAILED, {"blocking_claim_ids": ["b", "a"]})),
    "smears on a stranger": (A_BLOCKING, edited(CROWD, REFUSED, {"blocking_claim_ids": ["a", "z"]})),
    "the bystander fails too": (A_OTHERS, numbered([*CROWD, {**B_OUTCOME, "event": FAILED}])),
    "the bystander is not restored": (
        A_SPARED,
        [
            {**event, "success": False} if event["event"] == COPY and event["job_id"] == 12 else event
            for event in CROWD
            if event is not B_RESTORED
        ],
    ),
}  # fmt: skip


def judged(tmp_path, events, claim_id=None, others=()):
    return connector.judge(write(tmp_path / "trace.jsonl", events), claim_id=claim_id, others=others)


def test_an_honest_life_passes(tmp_path):
    verdict = judged(tmp_path, LIFE)
    assert verdict.passed
    assert verdict.observation.passed
    assert verdict.failure_outcome.passed
    # Nobody else is there, so nothing shows that others are spared; and it does not count.
    assert verdict.attribution.missing == (A_SPARED,)
    assert not verdict.controls["several_claims"]
    assert set(verdict.to_json()) == {"observation", "failure_outcome", "attribution", "controls"}
    assert verdict.to_json()["observation"] == {"pass": True, "missing": []}


@pytest.mark.parametrize("claim_id", [None, "a"])
@pytest.mark.parametrize("others", [(), ("b",)])
def test_a_failure_beside_a_bystander_passes(tmp_path, claim_id, others):
    verdict = judged(tmp_path, CROWD, claim_id, others)
    assert verdict.passed
    assert verdict.attribution.passed
    assert verdict.controls["attribution_claim_id"] == "a"


@pytest.mark.parametrize("case", OBSERVATION)
def test_one_shortfall_of_the_observation_has_exactly_its_name(tmp_path, case):
    name, events = OBSERVATION[case]
    assert judged(tmp_path, events).observation.missing == (name,)


@pytest.mark.parametrize("case", FAILURE)
def test_one_shortfall_of_the_failure_outcome_has_exactly_its_name(tmp_path, case):
    name, events = FAILURE[case]
    assert judged(tmp_path, events).failure_outcome.missing == (name,)


@pytest.mark.parametrize("case", ATTRIBUTION)
def test_one_shortfall_of_the_attribution_has_exactly_its_name(tmp_path, case):
    name, events = ATTRIBUTION[case]
    verdict = judged(tmp_path, events, "a", ["b"])
    assert verdict.attribution.missing == (name,)
    assert not verdict.passed


def test_every_name_is_in_some_case():
    for cases, requirements in (
        (OBSERVATION, OBSERVATION_REQUIREMENTS),
        (FAILURE, FAILURE_REQUIREMENTS),
        (ATTRIBUTION, ATTRIBUTION_REQUIREMENTS),
    ):
        assert {name for name, _ in cases.values()} == set(requirements)


def test_a_load_that_never_failed_shows_no_failure_outcome(tmp_path):
    verdict = judged(tmp_path, RESTORE_ONLY)
    assert verdict.observation.passed
    assert {F_LOAD, F_SCOPED, F_REFUSED, F_S_FAILED, F_S_REFUSED} <= set(verdict.failure_outcome.missing)
    assert not verdict.passed


def test_every_failed_load_must_end_properly(tmp_path):
    """A second failure that nobody answers is not excused by the first."""
    second = [{**event, "job_id": 7} if event.get("job_id") == 3 else event for event in LIFE[-10:-6]]
    verdict = judged(tmp_path, numbered([*LIFE, *second]))
    assert F_SCOPED in verdict.failure_outcome.missing


def test_a_bystander_that_was_asked_for_must_be_there(tmp_path):
    assert judged(tmp_path, LIFE, "a", ["b"]).attribution.missing == (A_SPARED,)
    assert not judged(tmp_path, LIFE, "a", ["b"]).passed
    assert (
        judged(tmp_path, LIFE, "z").observation.missing == OBSERVATION_REQUIREMENTS[:1] + OBSERVATION_REQUIREMENTS[2:5]
    )


def test_a_name_in_a_list_makes_several_claims(tmp_path):
    verdict = judged(tmp_path, edited(LIFE, REFUSED, {"blocking_claim_ids": ["a", "ghost"]}), "a")
    assert verdict.controls["several_claims"]
    assert A_BLOCKING in verdict.attribution.missing
    assert not verdict.passed


def test_engine_events_without_a_claim_are_counted_and_prove_nothing(tmp_path):
    nameless = [{field: value for field, value in event.items() if "claim_id" not in field} for event in LIFE]
    verdict = judged(tmp_path, nameless)
    assert verdict.observation.missing == OBSERVATION_REQUIREMENTS
    assert verdict.failure_outcome.missing == FAILURE_REQUIREMENTS
    assert verdict.attribution.missing == ATTRIBUTION_REQUIREMENTS
    assert verdict.controls["engine_events_without_claim"] == len(LIFE)


def test_resident_claim_id_is_read_where_claim_id_is_not(tmp_path):
    renamed = []
    for event in LIFE:
        claim_id = {"resident_claim_id": event["claim_id"], "claim_id": None}
        renamed.append({**event, **claim_id})
    assert judged(tmp_path, renamed).passed


def test_a_refusal_may_name_its_claim_as_the_outcome_only(tmp_path):
    """As our own format has it: active_request_refused is about a request."""
    assert judged(tmp_path, edited(LIFE, REFUSED, {"claim_id": None})).passed


def test_the_connector_may_report_after_the_request_ended(tmp_path):
    late = [*LIFE[:-4], LIFE[-1], *LIFE[-4:-1]]
    assert [event["event"] for event in late[-4:]] == [PENDING, LOAD_FAILED, FAILED, REFUSED]
    assert judged(tmp_path, numbered(late)).passed


def test_an_engine_need_not_say_what_the_object_is(tmp_path):
    """It must not change its mind about what it says; the controls tell what that is."""
    bare = [{field: value for field, value in event.items() if field not in IDENTITY_FIELDS} for event in LIFE]
    verdict = judged(tmp_path, bare)
    assert verdict.passed
    assert verdict.controls["identity_fields"] == []
    assert judged(tmp_path, LIFE).controls["identity_fields"] == list(IDENTITY_FIELDS)


def test_ordinary_refusals_name_bystanders_and_harm_nobody(tmp_path):
    """For lack of room a request may be refused naming any claim: those are bystanders, and spared."""
    ordinary = {"event": REFUSED, "request_id": "big", "claim_id": None, "blocking_claim_ids": ["a", "c"]}
    verdict = judged(tmp_path, numbered([*LIFE, ordinary]), "a")
    assert verdict.controls["claims_in_trace"] == ["a", "c"]
    assert verdict.passed


def test_an_injected_failure_is_recorded_not_required(tmp_path):
    assert judged(tmp_path, LIFE).controls["injected_failure_recorded"] is False
    flagged = edited(LIFE, FAILED, {"controlled_restoration_unavailable": True})
    assert judged(tmp_path, flagged).controls["injected_failure_recorded"] is True


def test_the_life_cycle_format_is_no_connector_trace(tmp_path):
    assert not judged(tmp_path, offload_lifecycle()).observation.passed
