"""Every event carries its whole schema, and an incomplete one is told apart."""

import pytest

from residentkv.contract.errors import ContractError
from residentkv.contract.events import (
    CLAIM_FIELDS,
    COMMON_FIELDS,
    EVENT_FIELDS,
    EVENT_NAMES,
    RECORD_FIELDS,
    canonical_name,
    event_problem,
    make_event,
)

RUN = {"event_sequence": 0, "timestamp_ns": 0, "run_id": "run", "policy": "policy", "usable_blocks": 80}


def complete(name, **changes):
    claim = dict.fromkeys(("claim_id", *CLAIM_FIELDS), "x") if name.startswith("resident_") else {}
    return make_event(name, {**RUN, **claim, **changes})


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_an_event_has_every_field_of_its_schema(name):
    event = complete(name)
    assert set(event) == set(EVENT_FIELDS[name])
    assert event["event"] == name
    assert event["schema_version"] == 1
    assert set(event) >= set(COMMON_FIELDS)
    assert event_problem(event) is None


def test_claim_and_conflict_events_carry_more():
    assert set(EVENT_FIELDS["resident_claim_harmed"]) > set(CLAIM_FIELDS)
    assert set(EVENT_FIELDS["active_request_refused"]) > set(RECORD_FIELDS)
    assert "usable_blocks" not in RECORD_FIELDS  # common to all events already
    victim = {"physical_block_id", "logical_block_position", "is_protected_resident", "victim_reason"}
    assert set(EVENT_FIELDS["allocation_victim_selected"]) == set(COMMON_FIELDS) | victim


@pytest.mark.parametrize("name", EVENT_NAMES)
def test_every_missing_field_is_noticed(name):
    for field in EVENT_FIELDS[name]:
        if field != "event":
            event = complete(name)
            del event[field]
            assert event_problem(event) == f"{name} lacks {field}"


@pytest.mark.parametrize("field", ["claim_id", "reusable_object_id", "cache_identity", "materialization_predicate"])
def test_a_claim_event_without_identity_is_noticed(field):
    assert event_problem(complete("resident_claim_accepted", **{field: None})) == (
        f"resident_claim_accepted has null {field}"
    )


@pytest.mark.parametrize("name", ["resident_claim_submitted", "resident_claim_rejected"])
def test_what_was_not_accepted_has_no_life(name):
    unborn = dict.fromkeys(
        ["lifecycle_generation", "resident_blocks_materialized", "leading_blocks_survived", "predicate_materialized"]
    )
    assert event_problem(complete(name, **unborn)) is None
    assert event_problem(complete("resident_claim_accepted", **unborn)) is not None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"schema_version": 2}, "schema_version is 2, not 1"),
        ({"event": "resident_claim_lost"}, "unknown event 'resident_claim_lost'"),
        ({"event": 7}, "unknown event '7'"),
        ({"run_id": None}, "future_reuse_denied has null run_id"),
    ],
)
def test_other_problems(changes, problem):
    assert event_problem({**complete("future_reuse_denied"), **changes}) == problem


def test_unknown_fields_are_ignored_and_aliases_read():
    event = {**complete("resident_claim_demoted"), "event": "resident_claim_relaxed", "more": 1}
    assert canonical_name(event) == "resident_claim_demoted"
    assert event_problem(event) is None


def test_a_writer_can_not_invent_names():
    with pytest.raises(ContractError, match="unknown event"):
        make_event("resident_claim_lost", RUN)
    with pytest.raises(ContractError, match="victim_reason"):
        make_event("future_reuse_denied", {**RUN, "victim_reason": "lru"})
