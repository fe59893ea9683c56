"""Damage to honest traces: every kind of damage is found unless it provably changes nothing, and none ever helps.

What a gate needs is written down here once more, by hand: a field or event that is not listed is harmless to lose.
"""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from residentkv.conformance.gates import connector, offload
from unit.conformance.gates.writer import crowd, numbered, offload_lifecycle, write

_IDENTITY = {
    "predicate_id",
    "materialization_predicate",
    "reusable_object_id",
    "cache_identity",
    "request_token_map_id",
}
_CLAIM = {"event", "event_sequence", "claim_id", *_IDENTITY}
OFFLOAD_NEEDS = {
    "resident_claim_accepted": {*_CLAIM, "claim_registration"},
    "resident_claim_materialized": {*_CLAIM, "predicate_materialized"},
    "resident_claim_offloaded": {*_CLAIM, "cache_tier_from", "cache_tier_to", "offload_generation"},
    "resident_claim_restore_required": {*_CLAIM, "reuse_requires_restoration"},
    "resident_claim_restored": {
        *_CLAIM, "restored_from_offload_tier", "restoration_source", "cache_tier_from", "cache_tier_to",
    },
    "resident_claim_reuse_after_restore": {*_CLAIM, "predicate_satisfied"},
    "resident_claim_restoration_failed": {*_CLAIM, "claim_scoped_outcome_type", "outcome_claim_id", "request_id"},
    "active_request_refused": {"event", "event_sequence", "outcome_claim_id", "blocking_claim_ids", "request_id"},
}  # fmt: skip

_OWN = {"event", "event_sequence", "claim_id"}
_OUTCOME = {"event", "event_sequence", "outcome_claim_id"}
_REFUSAL = {*_OUTCOME, "blocking_claim_ids"}
# Of the target's events in an engine's trace. A store is one job. Requests and jobs of loads only tell attempts apart:
# an event without an id belongs to the latest attempt, so losing one changes nothing where attempts do not interleave.
# A refusal may leave its claim id out, and name the claim as its outcome.
CONNECTOR_NEEDS = {
    "offload_store_job_created": {*_OWN, "job_id"},
    "offload_worker_transfer_finished": {*_OWN, "transfer_type", "success"},
    "offload_job_completed": {*_OWN, "is_store"},
    "offload_lookup_result": {*_OWN, "num_hit_tokens", "will_load_async"},
    "resident_claim_restore_required": _OWN,
    "offload_load_job_created": _OWN,
    "resident_claim_restored": _OWN,
    "offload_load_job_failed": _OWN,
    "scheduler_resident_claim_restoration_failed": {*_OUTCOME, "scheduler_side_failure_outcome"},
    "scheduler_active_request_refused": {*_REFUSAL, "scheduler_side_refusal", "native_scheduler_admission_refusal"},
    "resident_claim_restoration_failed": {*_OWN, "outcome_claim_id"},
    "active_request_refused": _REFUSAL,
}

OFFLOAD, CONNECTOR = offload_lifecycle(), crowd()
TARGETS = [place for place, event in enumerate(CONNECTOR) if event["claim_id"] == "a"]


def _judges(path: Path):
    return {
        "offload": lambda events: offload.judge(write(path, events)).passed,
        "connector": lambda events: connector.judge(write(path, events), claim_id="a", others=["b"]).passed,
    }


def _without(events, place, name):
    return [
        {field: value for field, value in event.items() if (at, field) != (place, name)}
        for at, event in enumerate(events)
    ]


def test_an_offload_trace_passes_without_exactly_what_is_not_needed(tmp_path):
    passes = _judges(tmp_path / "t.jsonl")["offload"]
    for place, event in enumerate(OFFLOAD):
        for name in event:
            is_needed = name in OFFLOAD_NEEDS.get(event["event"], ())
            assert passes(_without(OFFLOAD, place, name)) is not is_needed, (event["event"], name)


def test_a_connector_trace_passes_without_exactly_what_is_not_needed(tmp_path):
    passes = _judges(tmp_path / "t.jsonl")["connector"]
    for place in TARGETS:
        event = CONNECTOR[place]
        for name in event:
            found = passes(_without(CONNECTOR, place, name))
            if event["event"] in CONNECTOR_NEEDS:
                may_pair = event["event"].startswith("scheduler_") and name == "request_id"
                is_needed = name in CONNECTOR_NEEDS[event["event"]] or may_pair
                assert found is not is_needed, (event["event"], name)
            elif name == "event_sequence":
                assert not found, "an event of the claim without its place in the order"


@pytest.mark.parametrize("gate", ["offload", "connector"])
def test_losing_or_repeating_the_place_of_an_event_fails(tmp_path, gate):
    passes = _judges(tmp_path / "t.jsonl")[gate]
    events, places = (OFFLOAD, range(len(OFFLOAD))) if gate == "offload" else (CONNECTOR, TARGETS)
    judged = [place for place in places if events[place]["event"] in {**OFFLOAD_NEEDS, **CONNECTOR_NEEDS}]
    for place in judged:
        for other in judged:
            if place != other:
                twice = [dict(event) for event in events]
                twice[place]["event_sequence"] = events[other]["event_sequence"]
                assert not passes(twice), (place, other)


def test_every_swap_in_an_offload_life_fails(tmp_path):
    passes = _judges(tmp_path / "t.jsonl")["offload"]
    judged = [place for place, event in enumerate(OFFLOAD) if event["event"] in OFFLOAD_NEEDS]
    for place in judged:
        for other in judged:
            if place < other and OFFLOAD[place]["event"] != OFFLOAD[other]["event"]:
                changed = list(OFFLOAD)
                changed[place], changed[other] = changed[other], changed[place]
                assert not passes(numbered(changed)), (place, other)


def test_every_event_of_an_offload_life_is_needed(tmp_path):
    passes = _judges(tmp_path / "t.jsonl")["offload"]
    for place, event in enumerate(OFFLOAD):
        assert passes([*OFFLOAD[:place], *OFFLOAD[place + 1 :]]) is (event["event"] not in OFFLOAD_NEEDS)


_FIELDS = sorted({field for event in (*OFFLOAD, *CONNECTOR) for field in event})
_DAMAGE = st.one_of(
    st.tuples(st.just("drop field"), st.integers(0, 60), st.sampled_from(_FIELDS)),
    st.tuples(st.just("drop event"), st.integers(0, 60), st.none()),
    st.tuples(st.just("swap"), st.integers(0, 60), st.integers(0, 60)),
    st.tuples(st.just("repeat event"), st.integers(0, 60), st.integers(0, 60)),
    st.tuples(st.just("repeat sequence"), st.integers(0, 60), st.integers(0, 60)),
    st.tuples(st.just("change id"), st.integers(0, 60), st.sampled_from(["b", "c", "", 7, None, ["a"], True])),
    st.tuples(
        st.just("scramble"), st.integers(0, 60), st.sampled_from([0, 1, "1", False, None, [], {}, "offload_tier"])
    ),
)


def _damaged(events, kind, place, detail):
    place %= max(len(events), 1)
    changed = [dict(event) for event in events]
    if not changed:
        return changed
    if kind == "drop field":
        changed[place].pop(detail, None)
    elif kind == "drop event":
        del changed[place]
    elif kind == "swap":
        other = detail % len(changed)
        changed[place], changed[other] = changed[other], changed[place]
        changed[place]["event_sequence"], changed[other]["event_sequence"] = place + 1, other + 1
    elif kind == "repeat event":
        changed.insert(detail % len(changed), changed[place])
        changed = numbered(changed)
    elif kind == "repeat sequence":
        changed[place]["event_sequence"] = changed[detail % len(changed)].get("event_sequence")
    elif kind == "change id":
        fields = [name for name in changed[place] if name.endswith("_id")]
        changed[place] |= dict.fromkeys(fields[:1] if detail == "b" else fields, detail)
    else:
        kept = {"event", "event_sequence", "claim_id"}
        changed[place] |= {name: detail for name in changed[place] if name not in kept}
    return changed


def _lacking(gate):
    """Traces that fail because something that nothing else can stand for is gone."""
    events, needs = (OFFLOAD, OFFLOAD_NEEDS) if gate == "offload" else (CONNECTOR, CONNECTOR_NEEDS)
    # One that is there once: the other load or store of an engine's trace must not stand for it.
    once = [event["event"] for event in events]
    for place, event in enumerate(events):
        if once.count(event["event"]) == 1 and event["event"] in needs and event["claim_id"] in ("a", None):
            yield [*events[:place], *events[place + 1 :]]
            for name in needs[event["event"]] - {"event", "event_sequence", "claim_id"}:
                yield _without(events, place, name)


LACKING = {gate: list(_lacking(gate)) for gate in ("offload", "connector")}


@pytest.mark.parametrize("gate", ["offload", "connector"])
@settings(max_examples=900, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_further_damage_turns_a_fail_into_a_pass(tmp_path, gate, data):
    events = data.draw(st.sampled_from(LACKING[gate]))
    passes = _judges(tmp_path / "t.jsonl")[gate]
    for kind, place, detail in data.draw(st.lists(_DAMAGE, min_size=1, max_size=4)):
        events = _damaged(events, kind, place, detail)
    if events:
        assert not passes(events)
