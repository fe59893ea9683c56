from collections.abc import Callable

import pytest

from residentkv import ContiguousRange, LeadingPrefix, ProtectionMode
from residentkv.contract.claim import ClaimAction
from tests.unit.runtime.scenario import BLOCK, Scenario, tokens

Make = Callable[..., Scenario]


def test_every_event_carries_the_run(make: Make):
    scenario = make(8)
    scenario.clock.now_ns = 77
    scenario.claim("c", tokens(1, 2))
    scenario.serve("a", tokens(1, 2))
    for event in scenario.events():
        assert (event["schema_version"], event["run_id"], event["policy"], event["usable_blocks"]) == (
            1,
            "run",
            "relax_least_value",
            8,
        )
        assert event["timestamp_ns"] == 77


def test_the_life_of_a_claim_in_order(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2))
    scenario.serve("a", tokens(1, 2))
    scenario.claims.release("c")
    assert scenario.story() == [
        "resident_claim_submitted",
        "resident_claim_accepted",
        "active_request_admitted",
        "resident_claim_materialized",
        "resident_claim_released",
    ]
    accepted, materialized = scenario.events("resident_claim_accepted", "resident_claim_materialized")
    assert accepted["claim_registration"] == "pre_registered"
    assert (accepted["resident_blocks_materialized"], accepted["predicate_materialized"]) == (0, False)
    assert (materialized["resident_blocks_materialized"], materialized["predicate_materialized"]) == (2, True)
    assert materialized["request_id"] == "a"
    assert {event["claim_id"] for event in (accepted, materialized)} == {"c"}


def test_cached_blocks_become_resident_within_submit(make: Make):
    scenario = make(8)
    scenario.serve("a", tokens(1, 3))
    scenario.claim("c", tokens(1, 3), 2)
    assert [event["event"] for event in scenario.events()[2:]] == [
        "resident_claim_submitted",
        "resident_claim_accepted",
        "resident_block_materialized",
        "resident_block_materialized",
        "resident_claim_materialized",
    ]


def test_blocks_are_counted_as_they_materialize(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 3))
    answer = scenario.manager.admit("a", tokens(1, 3))
    for _ in range(3):
        scenario.compute(answer, BLOCK)
    blocks = scenario.events("resident_block_materialized")
    assert [event["logical_block_position"] for event in blocks] == [0, 1, 2]
    assert [event["leading_blocks_survived"] for event in blocks] == [1, 2, 3]
    assert [event["predicate_materialized"] for event in blocks] == [False, False, False]
    assert [event["physical_block_id"] for event in blocks] == scenario.claims.blocks("c").tolist()
    assert scenario.story()[-1] == "resident_claim_materialized"


def test_a_rejected_claim_has_no_life_and_says_the_numbers(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 9))
    submitted, rejected = scenario.events()
    assert submitted["event"] == "resident_claim_submitted"
    assert rejected["reject_reason"] == "capacity"
    assert rejected["reject_numbers"]["usable_blocks"] == 8
    assert rejected["lifecycle_generation"] is None
    assert rejected["reusable_object_id"] == submitted["reusable_object_id"]


def test_a_refusal_carries_the_record_and_who_was_preserved(make: Make):
    scenario = make(8)
    scenario.claim("first", tokens(1, 3))
    scenario.serve("a", tokens(1, 3))
    scenario.claim("pending", tokens(2, 2))
    answer = scenario.manager.admit("big", tokens(3, 4))
    refused, preserved = scenario.events()[-2:]
    assert refused["event"] == "active_request_refused"
    assert refused["request_id"] == "big"
    assert {name: refused[name] for name in answer.record.as_fields()} == answer.record.as_fields()
    assert refused["blocking_claim_ids"] == ["first", "pending"]
    assert (preserved["event"], preserved["claim_id"], preserved["request_id"]) == (
        "resident_claim_preserved",
        "first",
        "big",
    )
    assert (preserved["resident_blocks_materialized"], preserved["predicate_materialized"]) == (3, True)


def test_preserved_counts_blocks_that_another_claims_events_named(make: Make):
    scenario = make(8)
    scenario.claim("wide", tokens(1, 3), predicate=LeadingPrefix(1), footprint_blocks=3)
    scenario.claim("narrow", tokens(1, 3), predicate=LeadingPrefix(3))
    scenario.serve("a", tokens(1, 3))
    scenario.manager.admit("big", tokens(3, 6))
    preserved = scenario.events("resident_claim_preserved")
    assert [(event["claim_id"], event["resident_blocks_materialized"]) for event in preserved] == [
        ("wide", 3),
        ("narrow", 3),
    ]


def test_demotion_precedes_every_loss_and_losses_name_the_claim(make: Make):
    scenario = make(4)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.DEMOTABLE)
    scenario.serve("a", tokens(1, 3))
    scenario.claims.demote("c")
    scenario.serve("b", tokens(2, 4))
    names = ["resident_claim_demoted", "resident_claim_block_lost_after_release", "resident_claim_harmed"]
    told = scenario.events(*names)
    assert [event["event"] for event in told] == [names[0]] + [names[1]] * 3
    losses = told[1:]
    assert [event["logical_block_position"] for event in losses] == [2, 1, 0]  # tail first
    assert [event["resident_blocks_materialized"] for event in losses] == [2, 1, 0]
    assert [event["predicate_materialized"] for event in losses] == [False, False, False]
    assert {(event["claim_id"], event["request_id"]) for event in losses} == {("c", "b")}


def test_a_loss_is_reported_long_after_the_claim_ended(make: Make):
    scenario = make(6)
    scenario.serve("a", tokens(1, 2))
    scenario.claim("c", tokens(1, 2))
    scenario.claims.release("c")
    for i in range(50):  # other claims end meanwhile, over one prefix
        scenario.claim(f"other-{i}", tokens(2, 2))
        scenario.serve(f"r{i}", tokens(2, 2))
        scenario.claims.release(f"other-{i}")
        scenario.manager.events.flush()
    scenario.serve("big", tokens(3, 6))
    losses = scenario.events("resident_claim_block_lost_after_release")
    assert [event["claim_id"] for event in losses] == ["c", "c", "other-49", "other-49"]


def test_soft_harm_comes_right_after_its_victim(make: Make):
    scenario = make(4)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.SOFT_PRIORITY)
    scenario.serve("a", tokens(1, 3))
    scenario.serve("b", tokens(2, 2))
    victim, harmed = scenario.events("allocation_victim_selected", "resident_claim_harmed")
    assert (victim["victim_reason"], victim["claim_id"], victim["is_protected_resident"]) == (
        "soft_priority_lru",
        "c",
        False,
    )
    assert (harmed["harm_cause"], harmed["request_id"]) == ("evicted", "b")
    assert (harmed["predicate_before"], harmed["predicate_after"]) == (True, False)
    assert harmed["physical_block_id"] == victim["physical_block_id"]
    assert harmed["logical_block_position"] == victim["logical_block_position"] == 2
    assert (harmed["resident_blocks_materialized"], harmed["leading_blocks_survived"]) == (2, 2)


def test_invalidation_harms_with_its_cause(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 4))
    scenario.claim("tail", tokens(1, 4), predicate=ContiguousRange(2, 2))
    scenario.serve("a", tokens(1, 4))
    scenario.manager.invalidate([scenario.claims.blocks("c")[0]], cause="ecc")
    harmed = scenario.events("resident_claim_harmed")
    assert [event["claim_id"] for event in harmed] == ["c", "tail"]  # the tail can not be reached any more
    for event in harmed:
        assert (event["harm_cause"], event["request_id"]) == ("ecc", None)
        assert (event["resident_blocks_materialized"], event["leading_blocks_survived"]) == (3, 0)


def test_causes_do_not_run_out(make: Make):
    scenario = make(8)
    recorder = scenario.manager._parts.recorder
    scenario.claim("c", tokens(1, 1))
    scenario.serve("a", tokens(1, 1))
    scenario.manager.invalidate([int(scenario.claims.blocks("c")[0])], cause="the first")
    for i in range((1 << 16) + 5):
        recorder.cause_number(f"cause {i}")
    (harmed,) = scenario.events("resident_claim_harmed")
    assert harmed["harm_cause"] == "the first"


@pytest.mark.parametrize(
    ("reuse", "pressure", "action"),
    [
        (True, False, "serve_active_preserve_resident"),
        (True, True, "serve_active_evict_resident"),
        (False, True, "serve_active_no_admit"),
    ],
)
def test_an_admission_says_what_it_cost_others(make: Make, reuse: bool, pressure: bool, action: str):
    scenario = make(4)
    if pressure:
        scenario.serve("before", tokens(1, 3))
    scenario.serve("a", tokens(2, 2), future_reuse=reuse)
    admitted = scenario.events("active_request_admitted")[-1]
    assert (admitted["request_id"], admitted["arbiter_action"]) == ("a", action)
    assert admitted["future_reuse_admitted"] is reuse
    assert (admitted["active_live_blocks_required"], admitted["reused_blocks"], admitted["new_blocks"]) == (2, 0, 2)
    following = scenario.events("future_reuse_admitted", "future_reuse_denied")[-1]
    assert following["event"] == ("future_reuse_admitted" if reuse else "future_reuse_denied")


def test_an_admission_after_relaxing_a_claim_says_so(make: Make):
    scenario = make(4)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.DEMOTABLE, allowed_actions=(ClaimAction.DEMOTE,))
    scenario.serve("a", tokens(1, 3))
    scenario.serve("b", tokens(2, 4))
    assert scenario.events("active_request_admitted")[-1]["arbiter_action"] == "relax_resident_claim"
    scenario.serve("c", tokens(3, 4))
    assert scenario.events("active_request_admitted")[-1]["arbiter_action"] == "serve_active_evict_resident"


def test_a_resumed_request_is_not_said_to_need_the_same_relaxation_again(make: Make):
    scenario = make(4)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.DEMOTABLE)
    scenario.prefill("a", tokens(2, 4))
    scenario.manager.preempt("a")
    scenario.manager.resume("a")
    actions = [event["arbiter_action"] for event in scenario.events("active_request_admitted")]
    assert actions == ["relax_resident_claim", "serve_active_evict_resident"]


def test_what_a_request_evicted_earlier_is_not_said_of_its_resumption(make: Make):
    scenario = make(4)
    scenario.serve("before", tokens(1, 4))
    scenario.prefill("a", tokens(2, 1))
    (held,) = scenario.manager.pool.request("a").block_ids.tolist()
    scenario.manager.preempt("a")  # the clock stands still
    scenario.manager.invalidate([1 + held % 4], cause="ecc")  # so that a block is free when it resumes
    scenario.manager.resume("a")
    actions = [event["arbiter_action"] for event in scenario.events("active_request_admitted")]
    assert actions[-2:] == ["serve_active_evict_resident", "serve_active_preserve_resident"]


def test_evictions_are_told_without_block_events(make: Make):
    scenario = make(4, block_events=False)
    scenario.serve("before", tokens(1, 4))
    scenario.serve("a", tokens(2, 1))
    assert scenario.events("active_request_admitted")[-1]["arbiter_action"] == "serve_active_evict_resident"


def test_without_block_events_claim_and_request_events_remain(make: Make):
    scenario = make(4, block_events=False)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.DEMOTABLE)
    scenario.serve("a", tokens(1, 3))
    scenario.claims.demote("c")
    scenario.serve("b", tokens(2, 4))
    assert scenario.story() == [
        "resident_claim_submitted",
        "resident_claim_accepted",
        "active_request_admitted",
        "resident_claim_materialized",
        "resident_claim_demoted",
        "active_request_admitted",
    ]
    assert len(scenario.events()) == len(scenario.story()) + 2  # and the reuse of both requests


def test_finished_requests_and_ended_claims_are_forgotten(make: Make):
    scenario = make(4)
    recorder = scenario.manager._parts.recorder
    for i in range(20):
        scenario.claim(f"c{i}", tokens(i, 2))
        scenario.serve(f"r{i}", tokens(i, 2))
        scenario.claims.release(f"c{i}")
        scenario.manager.events.flush()
    assert len(recorder._claims) <= 4  # at most one per block
    assert len(recorder._details) == 0
    assert len(scenario.manager._parts.requests._by_key) == 0
    scenario.serve("big", tokens(99, 4))
    scenario.manager.events.flush()
    assert len(recorder._claims) == 0  # the last loss was reported


def test_a_block_event_of_a_shared_node_names_a_claim_that_stands(make: Make):
    scenario = make(8)
    scenario.claim("stays", tokens(1, 2))
    scenario.claim("leaves", tokens(1, 2))
    scenario.claims.release("leaves")
    scenario.serve("a", tokens(1, 2))
    assert {event["claim_id"] for event in scenario.events("resident_block_materialized")} == {"stays"}
