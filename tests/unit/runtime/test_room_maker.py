from collections.abc import Callable

import numpy as np
import pytest

from residentkv import (
    Admitted,
    ClaimState,
    Deferred,
    Duration,
    InvariantError,
    NeedsRoom,
    ProtectionMode,
    Refused,
    StepPlan,
)
from tests.unit.runtime.scenario import BLOCK, Scenario, tokens

Make = Callable[..., Scenario]


def expiring(scenario: Scenario, claim_id: str, seed: int, blocks: int, duration: Duration) -> None:
    scenario.claim(claim_id, tokens(seed, blocks), mode=ProtectionMode.EXPIRING, duration=duration)


# --- deadlines ---


@pytest.mark.parametrize("duration", [Duration(nanoseconds=10), Duration(allocations=3)])
def test_an_admission_expires_what_it_would_cross_first(make: Make, duration: Duration):
    scenario = make(8)
    expiring(scenario, "c", 1, 2, duration)
    scenario.clock.now_ns += 10
    assert isinstance(scenario.manager.admit("a", tokens(2, 4)), Admitted)
    assert scenario.claims.state("c") is ClaimState.EXPIRED
    assert scenario.story()[-2:] == ["resident_claim_expired", "active_request_admitted"]


def test_a_step_expires_what_it_would_cross_first(make: Make):
    scenario = make(8)
    expiring(scenario, "c", 1, 2, Duration(steps=1))
    answer = scenario.manager.admit("a", tokens(2, 2))
    scenario.compute(answer, BLOCK)
    assert scenario.claims.state("c") is ClaimState.ACCEPTED
    scenario.compute(answer, BLOCK)
    assert scenario.claims.state("c") is ClaimState.EXPIRED


def test_a_claim_that_used_up_its_steps_keeps_nobody_out(make: Make):
    scenario = make(8)
    expiring(scenario, "c", 1, 4, Duration(steps=1))
    assert isinstance(scenario.manager.admit("b", tokens(3, 5)), Refused)
    scenario.serve("a", tokens(2, 2))
    assert scenario.claims.state("c") is ClaimState.ACCEPTED
    assert scenario.claims.explain(tokens(3, 5)).decision == "admitted"
    assert isinstance(scenario.manager.admit("b", tokens(3, 5)), Admitted)
    assert scenario.claims.state("c") is ClaimState.EXPIRED


def test_a_claim_that_used_up_its_allocations_keeps_nobody_from_growing(make: Make):
    scenario = make(8)
    expiring(scenario, "c", 1, 4, Duration(allocations=2))
    answer = scenario.prefill("a", tokens(2, 2))
    plan = scenario.manager.plan_step([answer.row], [4 * BLOCK])
    assert isinstance(plan, StepPlan)
    assert scenario.claims.state("c") is ClaimState.EXPIRED


def test_a_resume_expires_what_is_due(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(2, 2))
    expiring(scenario, "c", 1, 2, Duration(nanoseconds=10))
    scenario.manager.preempt("a")
    scenario.clock.now_ns += 10
    assert isinstance(scenario.manager.resume("a"), Admitted)
    assert scenario.claims.state("c") is ClaimState.EXPIRED


def test_a_fork_expires_what_is_due(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(2, 2))
    expiring(scenario, "c", 1, 2, Duration(nanoseconds=10))
    scenario.clock.now_ns += 10
    assert isinstance(scenario.manager.fork("a", "b"), Admitted)
    assert scenario.claims.state("c") is ClaimState.EXPIRED


def test_several_claims_can_be_due_at_once(make: Make):
    scenario = make(16)
    for i in range(3):
        expiring(scenario, f"c{i}", i, 2, Duration(nanoseconds=10 - i))
    expiring(scenario, "later", 7, 2, Duration(nanoseconds=1000))
    scenario.clock.now_ns += 10
    scenario.manager.admit("a", tokens(9, 2))
    assert [event["claim_id"] for event in scenario.events("resident_claim_expired")] == ["c2", "c1", "c0"]
    assert [view.claim_id for view in scenario.claims] == ["later"]


def test_a_claim_harmed_meanwhile_does_not_disturb_expiry(make: Make):
    scenario = make(4)
    scenario.claim("gone", tokens(1, 2), mode=ProtectionMode.BEST_EFFORT, duration=Duration(nanoseconds=10))
    scenario.serve("a", tokens(1, 2))
    expiring(scenario, "due", 3, 1, Duration(nanoseconds=10))
    scenario.serve("b", tokens(2, 3))  # evicts "gone"
    scenario.clock.now_ns += 10
    scenario.serve("d", tokens(4, 4))
    assert scenario.claims.state("gone") is ClaimState.HARMED
    assert scenario.claims.state("due") is ClaimState.EXPIRED


def test_a_claim_that_materialized_unnoticed_can_expire(make: Make):
    scenario = make(8)
    expiring(scenario, "c", 1, 2, Duration(nanoseconds=10))
    scenario.serve("a", tokens(1, 2))
    scenario.clock.now_ns += 10
    scenario.serve("b", tokens(2, 2))
    assert scenario.claims.state("c") is ClaimState.EXPIRED
    assert len(scenario.claims) == 0


def test_a_deadline_that_no_claim_has_stops_the_loop(make: Make, monkeypatch: pytest.MonkeyPatch):
    scenario = make(8)
    expiring(scenario, "c", 1, 2, Duration(nanoseconds=10))
    scenario.clock.now_ns += 10
    table = scenario.manager._parts.table
    monkeypatch.setattr(table, "_native", NoDueClaims())
    with pytest.raises(InvariantError, match="waits for a deadline that no claim has"):
        table.expire_due(scenario.clock.now_ns)


class NoDueClaims:
    """A native core that contradicts itself."""

    def take_claim_notices(self) -> list[object]:
        return []

    def due_claims(self) -> np.ndarray:
        return np.empty(0, np.uint32)


# --- steps ---


def test_requests_in_each_others_way_need_room(make: Make):
    scenario = make(4)
    rows = [scenario.prefill(name, tokens(i, 2)).row for i, name in enumerate(("a", "b"))]
    before = scenario.state()
    answer = scenario.manager.plan_step(rows, [1, 1])
    assert answer == NeedsRoom(("a", "b"), 2)
    assert scenario.state() == before
    scenario.manager.preempt("b")
    assert isinstance(scenario.manager.plan_step(rows[:1], [1]), StepPlan)


def test_room_is_the_callers_to_give_even_beside_a_demotable_claim(make: Make):
    scenario = make(6)
    rows = [scenario.prefill(name, tokens(i, 2)).row for i, name in enumerate(("a", "b"))]
    scenario.claim("c", tokens(9, 2), mode=ProtectionMode.DEMOTABLE)
    assert scenario.manager.plan_step(rows, [1, 1]) == NeedsRoom(("a", "b"), 2)
    assert scenario.claims.state("c") is ClaimState.ACCEPTED


def test_growth_beyond_what_claims_leave_is_refused_with_the_record(make: Make):
    scenario = make(4)
    answer = scenario.prefill("a", tokens(1, 2))
    scenario.claim("c", tokens(9, 2))
    before = scenario.state()[1:]
    refused = scenario.manager.plan_step([answer.row], [1])
    assert isinstance(refused, Refused)
    assert refused.request_id == "a"
    assert refused.record.blocking_claim_ids == refused.record.sufficient_claim_ids == ("c",)
    assert refused.record.active_live_blocks_required == 3
    assert refused.record.capacity_shortfall_blocks == 1
    assert scenario.events("active_request_refused")[0]["request_id"] == "a"
    assert scenario.state()[1:] == before


def test_growth_relaxes_a_claim_that_permits_it(make: Make):
    scenario = make(4)
    answer = scenario.prefill("a", tokens(1, 2))
    scenario.claim("c", tokens(9, 2), mode=ProtectionMode.DEMOTABLE)
    assert isinstance(scenario.manager.plan_step([answer.row], [1]), StepPlan)
    assert scenario.claims.state("c") is ClaimState.DEMOTED
    assert scenario.story()[-1] == "resident_claim_demoted"


def test_growth_relaxes_a_claim_that_materialized_unnoticed(make: Make):
    scenario = make(4)
    answer = scenario.prefill("a", tokens(1, 2))
    scenario.claim("c", tokens(9, 2), mode=ProtectionMode.DEMOTABLE)
    scenario.serve("b", tokens(9, 2))
    assert isinstance(scenario.manager.plan_step([answer.row], [1]), StepPlan)
    assert len(scenario.claims) == 0
    assert scenario.claims.state("c") is ClaimState.DEMOTED


def test_growth_is_refused_for_the_row_it_concerns(make: Make):
    scenario = make(6)
    bounded = scenario.prefill("bounded", tokens(1, 2), max_new_tokens=4)
    growing = scenario.prefill("growing", tokens(2, 1))
    scenario.claim("c", tokens(9, 3))
    answer = scenario.manager.plan_step([bounded.row, growing.row], [1, 3 * BLOCK])
    assert isinstance(answer, Refused)
    assert answer.request_id == "growing"


def test_a_fork_without_room_is_deferred(make: Make):
    scenario = make(4)
    scenario.prefill("a", tokens(1, 1, extra=1))  # a child will copy the partial block
    scenario.claim("c", tokens(9, 1))
    scenario.prefill("other", tokens(2, 1))
    answer = scenario.manager.fork("a", "b")
    assert isinstance(answer, Deferred)
    assert answer.record.blocking_claim_ids == ("c",)
    scenario.manager.finish("other")
    assert isinstance(scenario.manager.fork("a", "b"), Admitted)


def test_what_a_growing_request_needs_is_what_it_will_hold(make: Make):
    """Known tokens that it computes again after a preemption are not counted twice."""
    scenario = make(8)
    answer = scenario.prefill("a", tokens(2, 2))
    plan = scenario.manager.plan_step([answer.row], [BLOCK])
    assert isinstance(plan, StepPlan)
    scenario.manager.commit_step(plan.step_id, token_ids=tokens(5, 1))
    scenario.manager.preempt("a")
    assert isinstance(scenario.manager.resume("a"), Admitted)
    scenario.claim("c", tokens(1, 5))
    refused = scenario.manager.plan_step([answer.row], [2 * BLOCK])
    assert isinstance(refused, Refused)
    assert refused.record.active_live_blocks_required == 4
    assert refused.record.blocking_claim_ids == ("c",)


def test_growth_beyond_the_pool_is_refused_and_names_nobody(make: Make):
    scenario = make(4)
    answer = scenario.prefill("a", tokens(2, 4))
    refused = scenario.manager.plan_step([answer.row], [1])
    assert isinstance(refused, Refused)
    assert refused.record.arbiter_action.value == "capacity_required"
    assert refused.record.blocking_claim_ids == ()
