"""The offload life cycle gate: an honest trace passes, and each way to fall short has its name."""

import pytest

from residentkv.conformance.gates import offload
from unit.conformance.gates.writer import (
    edited,
    numbered,
    offload_lifecycle,
    place_of,
    swapped,
    without,
    write,
)

ACCEPTED, MATERIALIZED = "resident_claim_accepted", "resident_claim_materialized"
OFFLOADED, REQUIRED = "resident_claim_offloaded", "resident_claim_restore_required"
RESTORED, REUSE = "resident_claim_restored", "resident_claim_reuse_after_restore"
FAILED, REFUSED = "resident_claim_restoration_failed", "active_request_refused"
P_ACCEPTED, P_STABLE, P_OBJECT, P_IDENTITY, P_MATERIALIZED, P_RESTORABLE, P_OUTCOME, P_ORDER = offload.REQUIREMENTS

HONEST = offload_lifecycle()
# Each falls short in one respect only.
EXACTLY = {
    "registered afterwards": (P_ACCEPTED, edited(HONEST, ACCEPTED, {"claim_registration": "post_hoc"})),
    "registration not told": (P_ACCEPTED, edited(HONEST, ACCEPTED, {"claim_registration": ...})),
    "a block before the acceptance": (P_ACCEPTED, numbered([HONEST[2], HONEST[1], *HONEST[3:]])),
    "no predicate id": (P_STABLE, edited(HONEST, ACCEPTED, {"predicate_id": ...})),
    "no predicate": (P_STABLE, edited(HONEST, ACCEPTED, {"materialization_predicate": None})),
    "another predicate": (P_STABLE, edited(HONEST, REUSE, {"predicate_id": "easier"})),
    "a weaker predicate": (P_STABLE, edited(HONEST, REUSE, {"materialization_predicate": "contiguous_range(0,1)"})),
    "no object": (P_OBJECT, edited(HONEST, ACCEPTED, {"reusable_object_id": ""})),
    "two objects": (P_OBJECT, edited(HONEST, RESTORED, {"reusable_object_id": "b-object"})),
    "two prefixes": (P_OBJECT, edited(HONEST, RESTORED, {"prefix_id": "b-prefix"})),
    "two objects, one in an event besides": (
        P_OBJECT,
        edited(HONEST, "resident_block_materialized", {"reusable_object_id": "b-object"}),
    ),
    "no token map": (P_IDENTITY, edited(HONEST, MATERIALIZED, {"request_token_map_id": None})),
    "two token maps": (P_IDENTITY, edited(HONEST, REUSE, {"request_token_map_id": "b-tokens"})),
    "no cache identity": (P_IDENTITY, edited(HONEST, OFFLOADED, {"cache_identity": {}})),
    "two cache identities": (P_IDENTITY, edited(HONEST, OFFLOADED, {"cache_identity": {"model_id": "n"}}, 1)),
    "an identity that is a number": (P_IDENTITY, edited(HONEST, OFFLOADED, {"cache_identity": 7})),
    "predicate false": (P_MATERIALIZED, edited(HONEST, MATERIALIZED, {"predicate_materialized": False})),
    "predicate true is not JSON true": (P_MATERIALIZED, edited(HONEST, MATERIALIZED, {"predicate_materialized": 1})),
    "59 of 60, called true": (P_MATERIALIZED, edited(HONEST, MATERIALIZED, {"leading_blocks_survived": 0})),
    "recompute called restore": (P_RESTORABLE, edited(HONEST, RESTORED, {"restoration_source": "fallback_recompute"})),
    "restored from nowhere": (P_RESTORABLE, edited(HONEST, RESTORED, {"cache_tier_from": None})),
    "restore not from the tier": (P_RESTORABLE, edited(HONEST, RESTORED, {"restored_from_offload_tier": False})),
    "restore of another generation": (P_RESTORABLE, edited(HONEST, RESTORED, {"offload_generation": 7})),
    "reuse of another generation": (P_RESTORABLE, edited(HONEST, REUSE, {"offload_generation": 2})),
    "reuse without the predicate": (P_RESTORABLE, edited(HONEST, REUSE, {"predicate_satisfied": False})),
    "reuse of 59 blocks": (P_RESTORABLE, edited(HONEST, REUSE, {"leading_blocks_survived": 59})),
    "restore was not required": (P_RESTORABLE, edited(HONEST, REQUIRED, {"reuse_requires_restoration": False})),
    "offloaded to the device": (P_RESTORABLE, edited(HONEST, OFFLOADED, {"cache_tier_to": "gpu_kv_cache"})),
    "failure of another claim": (P_OUTCOME, edited(HONEST, REFUSED, {"blocking_claim_ids": ["b"]})),
    "a smearing blocking list": (P_OUTCOME, edited(HONEST, REFUSED, {"blocking_claim_ids": ["a", "b"]})),
    "no blocking list": (P_OUTCOME, edited(HONEST, REFUSED, {"blocking_claim_ids": ...})),
    "a blocking list that is a string": (P_OUTCOME, edited(HONEST, REFUSED, {"blocking_claim_ids": "a"})),
    "another request refused": (P_OUTCOME, edited(HONEST, REFUSED, {"request_id": "bystander"})),
    "a refusal about another claim": (P_OUTCOME, edited(HONEST, REFUSED, {"claim_id": "b"})),
    "failure of another generation": (P_OUTCOME, edited(HONEST, FAILED, {"offload_generation": 1})),
    "sequence number twice": (P_ORDER, edited(HONEST, REUSE, {"event_sequence": 7})),
    "two runs": (P_ORDER, edited(HONEST, REUSE, {"run_id": "run-2"})),
    "two keys of order": (P_ORDER, edited(HONEST, REUSE, {"event_sequence": None})),
    "no order at all": (P_ORDER, [{**event, "event_sequence": None, "timestamp_ns": None} for event in HONEST]),
    "a sequence of strings": (P_ORDER, [{**event, "event_sequence": str(event["event_sequence"])} for event in HONEST]),
    "generations that fall": (P_ORDER, [
        {**event, "offload_generation": 3 - event["offload_generation"]} if "offload_generation" in event else event
        for event in HONEST
    ]),
}  # fmt: skip

# A link that is gone, in the wrong place, or another claim's breaks the order of the chain as well.
AMONG = {
    "named after the fact": (P_ACCEPTED, swapped(HONEST, (ACCEPTED, 0), (MATERIALIZED, 0))),
    "accepted last": (P_ACCEPTED, numbered([*without(HONEST, ACCEPTED), HONEST[1]])),
    "never accepted": (P_ACCEPTED, without(HONEST, ACCEPTED)),
    "accepted twice": (P_STABLE, numbered([*HONEST[:4], HONEST[1], *HONEST[4:]])),
    "never materialized": (P_MATERIALIZED, without(HONEST, MATERIALIZED)),
    "restore after reuse": (P_RESTORABLE, swapped(HONEST, (RESTORED, 0), (REUSE, 0))),
    "never restored": (P_RESTORABLE, without(HONEST, RESTORED)),
    "never reused": (P_RESTORABLE, without(HONEST, REUSE)),
    "restore not asked for": (P_RESTORABLE, without(HONEST, REQUIRED)),
    "never offloaded": (P_RESTORABLE, without(HONEST, OFFLOADED)),
    "failure without an outcome": (P_OUTCOME, without(HONEST, REFUSED)),
    "outcome without a failure": (P_OUTCOME, without(HONEST, FAILED)),
    "outcome before the failure": (P_OUTCOME, swapped(HONEST, (FAILED, 0), (REFUSED, 0))),
    "outcome of another kind": (P_OUTCOME, edited(HONEST, FAILED, {"claim_scoped_outcome_type": "demotion"})),
    "outcome of no kind": (P_OUTCOME, edited(HONEST, FAILED, {"claim_scoped_outcome_type": "recompute"})),
    "failure put on another claim": (P_OUTCOME, edited(HONEST, FAILED, {"outcome_claim_id": "b"})),
    "another claim's failure put on this one": (
        P_OUTCOME,
        numbered([*HONEST, {**HONEST[place_of(HONEST, FAILED)], "claim_id": "b"}]),
    ),
    "outcome of another claim": (P_OUTCOME, edited(HONEST, REFUSED, {"outcome_claim_id": "b"})),
    "one generation": (P_OUTCOME, without(without(HONEST, OFFLOADED, 1), REUSE)),
    "failure first": (P_ORDER, numbered([*HONEST[:4], *HONEST[8:12], *HONEST[4:8]])),
    "a second failure that nobody answers": (P_OUTCOME, numbered([*HONEST, *HONEST[9:11]])),
    "a second restore from elsewhere": (
        P_RESTORABLE,
        numbered([*HONEST, HONEST[9], {**HONEST[6], "offload_generation": 2, "restoration_source": "recompute"}]),
    ),
    "two lives that overlap": (P_STABLE, edited(HONEST, RESTORED, {"lifecycle_generation": 2})),
}


def judged(tmp_path, events, claim_id=None):
    return offload.judge(write(tmp_path / "trace.jsonl", events), claim_id=claim_id)


@pytest.mark.parametrize("outcome", ["refusal", "demotion", "expiry", "harm", "release"])
def test_an_honest_life_passes_with_its_evidence_in_order(tmp_path, outcome):
    verdict = judged(tmp_path, offload_lifecycle(outcome=outcome))
    assert (verdict.passed, verdict.claim_id, verdict.missing) == (True, "a", ())
    lines = [event["line"] for event in verdict.ordered_evidence.values()]
    assert lines == [2, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert verdict.to_json()["pass"] is True
    assert set(verdict.to_json()) == {"pass", "claim_id", "missing", "ordered_evidence"}


@pytest.mark.parametrize("case", EXACTLY)
def test_one_shortfall_has_exactly_its_name(tmp_path, case):
    name, events = EXACTLY[case]
    assert judged(tmp_path, events).missing == (name,)


@pytest.mark.parametrize("case", AMONG)
def test_a_broken_chain_names_the_link(tmp_path, case):
    name, events = AMONG[case]
    assert name in judged(tmp_path, events).missing


def test_every_name_is_alone_in_some_case():
    assert {name for name, _ in EXACTLY.values()} == set(offload.REQUIREMENTS)


def test_generic_counters_are_evidence_of_nothing(tmp_path):
    counters = [
        {"event": "generic_kv_blocks_offloaded", "claim_id": None, "blocks": 60},
        {"event": "resident_claim_restored", "claim_id": None},
        {"event": "resident_claim_restored"},
        {"event": ["resident_claim_restored"], "claim_id": "a"},
        {"event": "resident_claim_restored", "claim_id": {"a": 1}},
    ]
    verdict = judged(tmp_path, numbered(counters))
    assert (verdict.claim_id, verdict.missing) == (None, offload.REQUIREMENTS)


def test_a_claim_that_is_named_is_the_one_judged(tmp_path):
    other = [event for event in offload_lifecycle("b") if event["event"] != RESTORED]
    events = numbered([*other, *HONEST])
    assert judged(tmp_path, events).claim_id == "a"
    assert judged(tmp_path, events, "a").passed
    assert P_RESTORABLE in judged(tmp_path, events, "b").missing
    assert judged(tmp_path, events, "c").missing == offload.REQUIREMENTS


def test_two_claims_can_not_share_one_life(tmp_path):
    """The success of one and the failure of the other are two halves."""
    events = numbered([*HONEST[:8], *(event for event in offload_lifecycle("b") if event["event"] != REUSE)])
    assert not judged(tmp_path, events).passed


def test_claims_that_failed_together_may_be_named_together(tmp_path):
    failed = HONEST[place_of(HONEST, FAILED)]
    other = {**failed, **offload_lifecycle("b")[1], "event": FAILED, "outcome_claim_id": "b", "request_id": "refused"}
    together = edited(HONEST, REFUSED, {"blocking_claim_ids": ["a", "b"]})
    assert judged(tmp_path, numbered([other, *together]), "a").passed
    assert judged(tmp_path, numbered([*together, other]), "a").missing == (P_OUTCOME,)
    elsewhere = {**other, "request_id": "another"}
    assert judged(tmp_path, numbered([elsewhere, *together]), "a").missing == (P_OUTCOME,)


def test_spellings_of_other_writers_are_read(tmp_path):
    events = offload_lifecycle(outcome="demotion")
    events[-1]["event"] = "resident_claim_relaxed"
    for event in events:
        event["resident_claim_id"] = event.pop("claim_id")
        event["cache_identity"] = "model-m/16/bf16"
        event["a field of theirs"] = None
    assert judged(tmp_path, events).passed


def test_order_is_what_the_keys_say_not_the_file(tmp_path):
    assert judged(tmp_path, reversed(HONEST)).passed
    by_time = [{**event, "event_sequence": None} for event in HONEST]
    assert judged(tmp_path, reversed(by_time)).passed
    floats = [{**event, "timestamp_ns": None, "timestamp": event["timestamp_ns"] / 7} for event in by_time]
    assert judged(tmp_path, reversed(floats)).passed


def test_a_claim_id_may_live_twice_but_not_for_two_objects_at_once(tmp_path):
    second_life = [
        {**event, "lifecycle_generation": 2, "reusable_object_id": "new"}
        if event.get("lifecycle_generation")
        else event
        for event in HONEST
    ]
    released = {**HONEST[1], "event": "resident_claim_released"}
    first_half = [*HONEST[:8], released]
    assert judged(tmp_path, numbered([*first_half, *second_life])).passed
    halves = [*HONEST[:8], *second_life[8:]]
    assert not judged(tmp_path, numbered(halves)).passed


def test_ordinary_refusals_do_not_touch_the_life(tmp_path):
    """For lack of room a request may be refused naming any claim; that is no restoration outcome."""
    ordinary = {"event": REFUSED, "request_id": "big", "claim_id": None, "blocking_claim_ids": ["a", "b"]}
    assert judged(tmp_path, numbered([*HONEST[:10], ordinary, *HONEST[10:]])).passed


def test_after_a_failed_restore_that_was_refused_the_claim_may_be_restored(tmp_path):
    again = [{**event, "offload_generation": 2} for event in HONEST[5:8]]
    assert judged(tmp_path, numbered([*HONEST, *again])).passed
