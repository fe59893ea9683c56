"""Claims in the native core: acceptance, filling, protection, attribution, harm, deadlines, faults."""

import pytest

from residentkv import _core
from residentkv.contract.errors import ContractError
from tests.support.native import Native, ints


class TestProtection:
    def test_a_claimed_block_is_never_a_victim(self):
        native = Native(6)
        native.cache("abc", "xyz")
        claim = native.accept("abc")
        native.prefill("uvw")
        assert sorted(native.claim_blocks(claim)) == [1, 2, 3]
        assert native.admit("q").outcome == _core.DEFERRED

    def test_a_reservation_is_kept_from_everybody_else(self):
        native = Native(4)
        native.accept("abc")
        assert native.counts("reserved") == (3,)
        decision = native.admit("xy")
        assert (decision.outcome, decision.available_blocks) == (_core.REFUSED, 1)
        assert native.admit("x").outcome == _core.ADMITTED

    def test_the_filler_draws_on_the_reservation_once(self):
        native = Native(4)
        claim = native.accept("abc")
        decision = native.admit("abc.")
        assert (decision.outcome, decision.available_blocks, decision.num_filled_blocks) == (_core.ADMITTED, 4, 3)
        assert native.counts("reserved", "filling", "free") == (0, 3, 0)
        native.compute(decision.row)
        assert native.core.claim_facts(claim).predicate_true
        native.finish(decision.row)
        assert native.counts("resident_idle", "free", "reserved") == (3, 1, 0)

    def test_a_filler_that_ends_early_gives_the_reservation_back(self):
        native = Native(4)
        native.accept("abc")
        row = native.admit("abc").row
        native.step({row: 4})
        native.finish(row)
        assert native.counts("resident_idle", "reserved", "filling") == (1, 2, 0)

    def test_a_shared_block_counts_once(self):
        native = Native(5)
        native.accept("abc")
        answer = native.claim("abd")
        assert (answer.outcome, answer.protected_blocks) == (_core.CLAIM_ACCEPTED, 4)
        assert native.counts("protected", "reserved") == (4, 4)

    def test_acceptance_counts_what_a_running_request_was_promised(self):
        native = Native(6)
        native.prefill("ab", new=12)
        answer = native.claim("xy")
        assert (answer.outcome, answer.largest_union_blocks) == (_core.CLAIM_NO_CAPACITY, 7)
        assert native.claim("x").outcome == _core.CLAIM_ACCEPTED

    def test_acceptance_counts_a_preempted_request(self):
        native = Native(4)
        native.core.preempt(native.prefill("abc"))
        assert native.claim("xy").outcome == _core.CLAIM_NO_CAPACITY

    def test_over_budget(self):
        assert Native(9).claim("abc", max_protected_blocks=2).outcome == _core.CLAIM_OVER_BUDGET


class TestConflict:
    def test_the_canonical_case(self):
        native = Native(80)
        native.cache("".join(chr(1000 + i) for i in range(60)))
        claim = native.accept("".join(chr(1000 + i) for i in range(60)))
        conflict = native.conflict("".join(chr(5000 + i) for i in range(70)))
        decision = conflict.decision
        assert (decision.outcome, decision.available_blocks, decision.new_blocks) == (_core.REFUSED, 20, 70)
        assert decision.protected_union_peak_blocks == 130
        assert (conflict.claims.tolist(), conflict.blocks.tolist()) == ([claim], [60])
        assert conflict.sufficient(conflict.claims).tolist() == [claim]

    def test_a_bystander_is_not_named(self):
        native = Native(8)
        native.cache("ab", "xyz")
        mine, other = native.accept("ab"), native.accept("xyz")
        conflict = native.conflict("abcdefg")
        assert conflict.decision.outcome == _core.REFUSED
        assert conflict.claims.tolist() == [other]
        assert mine not in conflict.sufficient(conflict.claims).tolist()

    def test_blocks_in_use_are_not_in_the_way_of_a_deferred_request(self):
        native = Native(8)
        native.cache("ab", "xyz")
        native.accept("ab")
        idle = native.accept("xyz")
        native.prefill("ab..")
        native.prefill("q")
        conflict = native.conflict("mn")
        assert conflict.decision.outcome == _core.DEFERRED
        assert (conflict.claims.tolist(), conflict.blocks.tolist()) == ([idle], [3])

    def test_it_is_valid_until_the_manager_changes(self):
        native = Native(4)
        native.accept("abc")
        conflict = native.conflict("xy")
        native.prefill("x")
        with pytest.raises(ContractError, match="changed"):
            conflict.sufficient(conflict.claims)


class TestLoss:
    def test_ordinary_eviction_harms_nobody(self):
        native = Native(4)
        native.cache("abc")
        native.prefill("wxyz")
        assert not [event for event in native.events() if event.name == "resident_claim_harmed"]

    @pytest.mark.parametrize("mode", [_core.MODE_SOFT, _core.MODE_BEST_EFFORT])
    def test_the_loss_of_an_unprotected_claim_is_harm(self, mode):
        native = Native(4)
        native.cache("ab")
        claim = native.accept("ab", mode)
        native.events()
        native.prefill("wxy")
        assert native.names() == [
            "allocation_victim_selected",
            "harmed",
            "admitted",
            "future_reuse_admitted",
        ]
        with pytest.raises(ContractError, match="ended"):
            native.core.claim_facts(claim)

    def test_after_release_a_loss_is_no_harm(self):
        native = Native(4)
        native.cache("ab")
        native.end(native.accept("ab"))
        native.events()
        native.prefill("wxy")
        assert native.names()[:2] == ["allocation_victim_selected", "block_lost_after_release"]

    def test_soft_content_goes_last_and_from_its_tail(self):
        native = Native(4)
        native.cache("ab", "xy")
        native.accept("a", _core.MODE_SOFT)
        native.accept("ab", _core.MODE_SOFT)
        native.events()
        native.prefill("pqr")
        victims = [event for event in native.events() if event.name == "allocation_victim_selected"]
        assert [(event.position, _core.VICTIM_REASONS[event.cause]) for event in victims] == [
            (1, "unclaimed_lru"),
            (0, "unclaimed_lru"),
            (1, "soft_priority_lru"),
        ]

    def test_invalidation_harms_with_the_callers_cause(self):
        native = Native(6)
        native.cache("abc")
        claim = native.accept("abc")
        native.events()
        native.invalidate(native.claim_blocks(claim)[0], cause=9)
        [event] = native.events()
        assert (event.name, event.cause, event.materialized, event.leading) == ("resident_claim_harmed", 9, 2, 0)
        assert event.predicate == (True, False)
        assert native.counts("free", "num_claims") == (6, 0)

    def test_a_claim_in_the_making_plans_what_was_lost_again(self):
        native = Native(6)
        native.cache("ab")
        claim = native.accept("abcd")
        native.invalidate(native.claim_blocks(claim)[1])
        assert native.counts("resident_idle", "reserved", "num_claims") == (1, 3, 1)
        native.finish(native.prefill("abcd"))
        assert native.core.claim_facts(claim).predicate_true

    def test_a_range_can_not_be_reached_past_a_bad_block(self):
        native = Native(6)
        native.cache("abcd")
        native.accept("abcd", start=2)
        native.events()
        native.invalidate(native.core.block_states().tolist().index(3))
        assert native.names() == ["harmed"]

    def test_a_running_request_computes_bad_content_again(self):
        native = Native(6)
        row = native.prefill("ab.")
        assert native.invalidate(native.blocks(row)[0]) == [row]
        assert native.core.request_facts(row).status == "preempted"
        assert native.call("resume", row, 0).num_cached_tokens == 0


class TestDeadlines:
    @pytest.mark.parametrize(("clock", "at"), [("deadline_step", 1), ("deadline_allocations", 4), ("deadline_ns", 50)])
    def test_a_call_that_would_cross_one_does_nothing(self, clock, at):
        native = Native(8)
        native.cache("ab")
        claim = native.accept("ab", **{clock: at})
        native.now_ns = 50 if clock == "deadline_ns" else 0
        assert native.admit("xyz").outcome == _core.DEADLINE_DUE
        assert native.core.due_claims().tolist() == [claim]
        native.end(claim, "expired")
        assert native.admit("xyz").outcome == _core.ADMITTED

    def test_the_step_after_the_last_is_not_planned(self):
        native = Native(8)
        row = native.admit("xyz").row
        claim = native.accept("ab", deadline_step=1)
        native.step({row: 4})
        answer = native.try_plan({row: 8})
        assert isinstance(answer, _core.StepShortage)
        assert answer.deadline_due
        assert native.core.due_claims().tolist() == [claim]
        native.end(claim, "expired")
        native.compute(row)

    def test_no_admit_never_applies_to_claimed_content(self):
        native = Native(6)
        claim = native.accept("ab")
        native.finish(native.prefill("abcd", reuse=False))
        assert native.core.claim_facts(claim).predicate_true
        assert native.counts("resident_idle", "cached") == (2, 0)


def test_bad_claims_change_nothing():
    native = Native(6)
    claim = native.accept("ab")
    for broken in [{"footprint": 3}, {"start": 2, "count": 1}, {"count": 0}, {"mode": 3}, {"root": -1}]:
        with pytest.raises(ContractError):
            native.claim("ab", **broken)
    with pytest.raises(ContractError):
        native.end(claim, "harmed")
    with pytest.raises(ContractError):
        native.end(claim + 1)
    with pytest.raises(ContractError):
        native.invalidate(99)
    with pytest.raises(ContractError):
        native.core.reset(0)
    with pytest.raises(ContractError):
        native.core.accept_claim(tokens=ints(1).astype("int64"), **_REST)
    assert native.counts("num_claims", "reserved") == (1, 2)


_REST = {
    "root": 0,
    "extra_keys": None,
    "footprint_blocks": 1,
    "predicate_start": 0,
    "predicate_blocks": 1,
    "mode": 0,
    "max_protected_blocks": 9,
    "deadline_step": -1,
    "deadline_allocations": -1,
    "deadline_ns": -1,
    "now_ns": 0,
}
