from collections.abc import Callable

import pytest

from residentkv import (
    PRESERVE_CLAIMS,
    Admitted,
    ArbiterAction,
    ArbiterPolicy,
    ClaimState,
    Deferred,
    Duration,
    Feasibility,
    ProtectionMode,
    Refused,
    RelaxOrder,
)
from tests.unit.runtime.scenario import BLOCK, Scenario, tokens

Make = Callable[..., Scenario]


def held(scenario: Scenario, request_id: str, num_blocks: int) -> None:
    """A request that keeps its blocks."""
    assert isinstance(scenario.manager.admit(request_id, tokens(50, num_blocks)), Admitted)


def test_the_canonical_case(make: Make):
    scenario = make(80)
    scenario.claim("claim", tokens(1, 60))
    scenario.serve("a", tokens(1, 60))
    record = scenario.manager.admit("big", tokens(2, 70)).record
    assert record.as_fields() == {
        "active_live_blocks_required": 70,
        "active_live_blocks_current": 0,
        "usable_blocks": 80,
        "protected_resident_blocks": 60,
        "resident_plus_active_blocks": 130,
        "free_blocks_before_allocate": 20,
        "capacity_shortfall_blocks": 50,
        "feasibility": "infeasible_preserve_resident_and_active",
        "blocking_claim_ids": ["claim"],
        "sufficient_claim_ids": ["claim"],
        "protected_resident_claims": ["claim"],
        "future_reuse_requested": True,
        "future_reuse_admitted": False,
        "arbiter_action": "refuse_active",
    }
    assert scenario.events("allocation_victim_selected") == []


def test_the_live_case(make: Make):
    scenario = make(68)
    scenario.claim("claim", tokens(1, 40))
    scenario.serve("a", tokens(1, 40))
    held(scenario, "elsewhere", 1)
    answer = scenario.manager.admit("big", tokens(2, 46))
    assert isinstance(answer, Refused)
    assert (answer.record.free_blocks_before_allocate, answer.record.capacity_shortfall_blocks) == (27, 19)
    assert answer.record.active_live_blocks_current == 1


def test_larger_than_the_pool_names_nobody(make: Make):
    scenario = make(8)
    scenario.claim("claim", tokens(1, 4), mode=ProtectionMode.DEMOTABLE)
    answer = scenario.manager.admit("big", tokens(2, 9))
    assert isinstance(answer, Refused)
    assert answer.record.arbiter_action is ArbiterAction.CAPACITY_REQUIRED
    assert answer.record.blocking_claim_ids == answer.record.sufficient_claim_ids == ()
    assert scenario.claims.state("claim") is ClaimState.ACCEPTED


def test_only_requests_in_the_way_defer_without_names(make: Make):
    scenario = make(8)
    held(scenario, "a", 6)
    answer = scenario.manager.admit("b", tokens(2, 4))
    assert isinstance(answer, Deferred)
    assert answer.record.feasibility is Feasibility.FEASIBLE
    assert answer.record.arbiter_action is ArbiterAction.DEFER_ACTIVE
    assert answer.record.blocking_claim_ids == ()


def test_an_answer_changes_nothing_but_events(make: Make):
    scenario = make(8, sinks=())
    scenario.claim("claim", tokens(1, 3))
    held(scenario, "a", 3)
    before = scenario.state()
    assert isinstance(scenario.manager.admit("later", tokens(2, 4)), Deferred)
    assert isinstance(scenario.manager.admit("never", tokens(2, 6)), Refused)
    assert scenario.state() == before


def test_the_blocking_list_names_no_bystander(make: Make):
    scenario = make(12)
    scenario.claim("mine", tokens(1, 2))
    scenario.claim("theirs", tokens(2, 3))
    scenario.claim("soft", tokens(3, 3), mode=ProtectionMode.SOFT_PRIORITY)
    record = scenario.manager.admit("big", tokens(1, 10)).record  # reuses what "mine" protects
    assert record.blocking_claim_ids == record.sufficient_claim_ids == ("theirs",)
    assert record.protected_resident_claims == ("mine", "theirs")


def test_blocking_claims_by_blocks_then_acceptance_and_fewest_that_suffice(make: Make):
    scenario = make(12)
    for i, blocks in enumerate((1, 3, 3, 2)):
        scenario.claim(f"c{i}", tokens(i, blocks))
    record = scenario.manager.admit("big", tokens(9, 6)).record
    assert record.blocking_claim_ids == ("c1", "c2", "c3", "c0")
    assert record.sufficient_claim_ids == ("c1",)


# --- arbitration ---


def test_the_least_valuable_claim_that_suffices_gives_way(make: Make):
    scenario = make(12)
    for i, (blocks, value) in enumerate(((3, 9.0), (3, 2.0), (3, 4.0))):
        scenario.claim(f"c{i}", tokens(i, blocks), mode=ProtectionMode.DEMOTABLE, predicted_value=value)
    scenario.serve("big", tokens(9, 6))
    assert [scenario.claims.state(f"c{i}") for i in range(3)] == [
        ClaimState.ACCEPTED,
        ClaimState.DEMOTED,
        ClaimState.ACCEPTED,
    ]


def test_confidence_weighs_the_value(make: Make):
    scenario = make(6)
    scenario.claim("sure", tokens(1, 3), mode=ProtectionMode.DEMOTABLE, predicted_value=5.0)
    scenario.claim("doubtful", tokens(2, 3), mode=ProtectionMode.DEMOTABLE, predicted_value=9.0, confidence=0.5)
    scenario.serve("big", tokens(9, 3))
    assert [view.claim_id for view in scenario.claims] == ["sure"]


def test_most_blocks_first_touches_few_claims(make: Make):
    scenario = make(12, policy=ArbiterPolicy("few", order=RelaxOrder.MOST_BLOCKS))
    for i, blocks in enumerate((2, 5, 2)):
        scenario.claim(f"c{i}", tokens(i, blocks), mode=ProtectionMode.DEMOTABLE, predicted_value=float(blocks))
    scenario.serve("big", tokens(9, 7))
    assert [view.claim_id for view in scenario.claims] == ["c0", "c2"]


def test_nothing_is_relaxed_unless_it_helps(make: Make):
    scenario = make(12)
    scenario.claim("hard", tokens(1, 8))
    scenario.claim("demotable", tokens(2, 2), mode=ProtectionMode.DEMOTABLE)
    answer = scenario.manager.admit("big", tokens(9, 6))
    assert isinstance(answer, Refused)
    assert answer.record.sufficient_claim_ids == ("hard",)
    assert scenario.claims.state("demotable") is ClaimState.ACCEPTED


def test_a_policy_without_actions_preserves_claims(make: Make):
    scenario = make(6, policy=PRESERVE_CLAIMS)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.DEMOTABLE)
    assert isinstance(scenario.serve("big", tokens(9, 6)), Refused)
    assert scenario.claims.state("c") is ClaimState.ACCEPTED
    assert scenario.events()[0]["policy"] == "preserve_claims"


def test_an_expiring_claim_is_not_expired_before_its_deadline(make: Make):
    scenario = make(6)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.EXPIRING, duration=Duration(nanoseconds=10))
    assert isinstance(scenario.serve("big", tokens(9, 6)), Refused)
    scenario.clock.now_ns += 10
    assert isinstance(scenario.serve("big", tokens(9, 6)), Admitted)
    assert scenario.claims.state("c") is ClaimState.EXPIRED


def test_the_transition_is_told_before_what_it_made_possible(make: Make):
    scenario = make(6)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.DEMOTABLE)
    scenario.serve("a", tokens(1, 3))
    scenario.manager.admit("big", tokens(9, 6))
    assert [event["event"] for event in scenario.events()][-9:-1] == [
        "resident_claim_demoted",
        "allocation_victim_selected",
        "resident_claim_block_lost_after_release",
        "allocation_victim_selected",
        "resident_claim_block_lost_after_release",
        "allocation_victim_selected",
        "resident_claim_block_lost_after_release",
        "active_request_admitted",
    ]


def test_a_claim_relaxed_for_a_deferred_request(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.DEMOTABLE)
    held(scenario, "a", 3)
    assert isinstance(scenario.manager.admit("b", tokens(2, 4)), Admitted)
    assert scenario.claims.state("c") is ClaimState.DEMOTED


# --- what sinks are told about waiting ---


def waiting(scenario: Scenario) -> list[tuple[str, str]]:
    names = ("active_request_deferred", "active_request_refused", "resident_claim_preserved")
    return [
        (event["event"].removeprefix("active_request_").removeprefix("resident_claim_"), event["request_id"])
        for event in scenario.events(*names)
    ]


@pytest.fixture
def crowded(make: Make) -> Scenario:
    """Eight blocks: a materialized claim of two, a request of three; a request of four is deferred."""
    scenario = make(8, max_requests=2)
    scenario.claim("c", tokens(1, 2))
    scenario.serve("fill", tokens(1, 2))
    held(scenario, "a", 3)
    return scenario


def test_asking_again_tells_nothing_new(crowded: Scenario):
    for _ in range(3):
        assert isinstance(crowded.manager.admit("b", tokens(2, 4)), Deferred)
    assert waiting(crowded) == [("deferred", "b"), ("preserved", "b")]


def test_a_changed_list_is_told_again(crowded: Scenario):
    crowded.manager.admit("b", tokens(2, 4))
    crowded.claim("d", tokens(3, 1))
    crowded.manager.admit("b", tokens(2, 4))
    assert waiting(crowded) == [("deferred", "b"), ("preserved", "b"), ("deferred", "b")]
    assert crowded.events("active_request_deferred")[-1]["blocking_claim_ids"] == ["c", "d"]


def test_a_request_that_was_served_meanwhile_is_deferred_anew(crowded: Scenario):
    crowded.manager.admit("b", tokens(2, 4))
    crowded.manager.finish("a")
    crowded.serve("b", tokens(2, 4))
    held(crowded, "a", 3)
    crowded.manager.admit("b", tokens(4, 4))
    assert waiting(crowded) == [("deferred", "b"), ("preserved", "b")] * 2


def test_every_refusal_is_told(crowded: Scenario):
    for _ in range(2):
        crowded.manager.admit("never", tokens(2, 7))
    assert waiting(crowded) == [("refused", "never"), ("preserved", "never")] * 2


def test_a_claim_that_is_not_materialized_is_not_preserved(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 4))
    scenario.manager.admit("never", tokens(2, 5))
    assert waiting(scenario) == [("refused", "never")]


def test_a_request_that_resumed_meanwhile_is_deferred_anew(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(1, 4))
    for _ in range(2):
        scenario.manager.preempt("a")
        held(scenario, "other", 6)
        for _ in range(2):
            assert isinstance(scenario.manager.resume("a"), Deferred)
        scenario.manager.finish("other")
        scenario.manager.resume("a")
    assert waiting(scenario) == [("deferred", "a")] * 2


def test_the_memory_of_waiting_requests_is_bounded(crowded: Scenario):
    for i in range(9):  # four for each of the two rows
        crowded.manager.admit(f"r{i}", tokens(2, 4))
    told = len(waiting(crowded))
    crowded.manager.admit("r8", tokens(2, 4))
    assert len(waiting(crowded)) == told
    crowded.manager.admit("r0", tokens(2, 4))  # forgotten: the oldest
    assert waiting(crowded)[told:] == [("deferred", "r0"), ("preserved", "r0")]


def test_a_private_request_says_so_in_its_record(make: Make):
    scenario = make(8)
    record = scenario.manager.admit("big", tokens(1, 9), future_reuse=False).record
    assert (record.future_reuse_requested, record.future_reuse_admitted) == (False, False)


def test_a_resuming_request_can_be_deferred_by_a_claim_accepted_meanwhile(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(1, 4), future_reuse=False)
    scenario.manager.preempt("a")
    scenario.claim("c", tokens(2, 2))
    held(scenario, "other", 4)
    answer = scenario.manager.resume("a")
    assert isinstance(answer, Deferred)
    assert answer.record.blocking_claim_ids == ("c",)
    assert not answer.record.future_reuse_requested
    assert (answer.record.active_live_blocks_required, answer.record.capacity_shortfall_blocks) == (4, 2)
    scenario.claims.release("c")
    scenario.manager.finish("other")
    assert scenario.manager.resume("a").num_cached_tokens == 0
    assert scenario.pool.request("a").num_known_tokens == 4 * BLOCK


def test_a_private_request_stays_private_without_sinks(make: Make):
    scenario = make(8, sinks=())
    scenario.prefill("a", tokens(1, 4), future_reuse=False)
    scenario.manager.preempt("a")
    held(scenario, "other", 6)
    assert not scenario.manager.resume("a").record.future_reuse_requested


def test_the_child_of_a_private_request_asks_for_no_reuse(make: Make):
    scenario = make(4)
    scenario.prefill("a", tokens(1, 1, extra=1), future_reuse=False)
    held(scenario, "other", 2)
    assert not scenario.manager.fork("a", "b").record.future_reuse_requested
