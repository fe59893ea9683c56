"""Requests and steps in the native core: admission, prefix hits, steps in flight, forks, faults, and bad input."""

import numpy as np
import pytest

from residentkv import _core
from residentkv.contract.errors import ContractError
from tests.support.native import Native, ints, words


class TestAdmission:
    def test_numbers(self):
        native = Native(8)
        native.cache("ab")
        decision = native.admit("abcd", new=5)
        assert (decision.num_cached_tokens, decision.new_blocks, decision.peak_blocks) == (8, 2, 6)
        assert decision.available_blocks == 6
        assert native.counts("free", "active") == (4, 4)

    def test_all_or_nothing(self):
        native = Native(4)
        native.prefill("abc")
        assert native.admit("xy").outcome == _core.DEFERRED
        assert native.admit("vwxyz").outcome == _core.CAPACITY_REQUIRED
        assert native.counts("free", "num_requests") == (1, 1)

    def test_a_chain_is_evicted_from_its_tail_oldest_first(self):
        native = Native(5)
        native.cache("ab", "xyz")
        native.events()
        native.prefill("pqr")
        victims = [event.position for event in native.events() if event.name == "allocation_victim_selected"]
        assert victims == [1, 0, 2]

    @pytest.mark.parametrize("null_block", [True, False])
    def test_ids_fit_the_storage(self, null_block):
        native = Native(4, null_block=null_block)
        row = native.prefill("abcd")
        first = int(null_block)
        assert sorted(native.blocks(row)) == list(range(first, first + 4))
        assert len(native.core.block_states()) == 4 + first
        plan = native.plan({native.admit("x").row: 4}) if native.counts("free") != (0,) else None
        assert plan is None


class TestPrefix:
    def test_one_token_is_always_computed(self):
        native = Native(8)
        native.cache("abc")
        assert native.admit("abc").num_cached_tokens == 8
        assert native.admit("abc.").num_cached_tokens == 12

    def test_tokens_decide(self):
        native = Native(8)
        native.cache("abc")
        other = words("abc.")
        other[5] += 1
        assert native.admit(other).num_cached_tokens == 4

    def test_identities_and_extra_keys_share_nothing(self):
        native = Native(16)
        native.cache("ab", extra=[None, b"x"])
        assert native.admit("ab.", root=1).num_cached_tokens == 0
        assert native.admit("ab.").num_cached_tokens == 4
        assert native.admit("ab.", extra=[None, b"y"]).num_cached_tokens == 4
        assert native.admit("ab.", extra=[None, b"x"]).num_cached_tokens == 8

    def test_nothing_is_found_before_it_is_committed(self):
        native = Native(8)
        row = native.admit("ab.").row
        plan = native.plan({row: 9})
        assert native.admit("ab.").num_cached_tokens == 0
        native.commit(plan)
        assert native.admit("ab.").num_cached_tokens == 8

    def test_a_chunk_in_flight_is_not_found(self):
        native = Native(8)
        row = native.admit("ab.").row
        first, second = native.plan({row: 4}), native.plan({row: 5})
        native.commit(first)
        assert native.admit("ab.").num_cached_tokens == 4
        native.commit(second)

    def test_a_shared_bucket_is_no_hit(self):
        native = Native(64)
        for i in range(64):
            native.cache(chr(1000 + i))
        assert not any(
            native.core.conflict(0, words(chr(2000 + i) + "."), -1, None).decision.num_cached_tokens for i in range(64)
        )

    def test_write_no_admit_is_not_found(self):
        native = Native(8)
        native.prefill("ab", reuse=False)
        assert native.admit("ab.").num_cached_tokens == 0


class TestSteps:
    def test_decode_publishes_full_blocks(self):
        native = Native(8)
        row = native.prefill("a", new=8)
        native.decode(row, *words("b"))
        assert native.admit("ab.").num_cached_tokens == 8

    def test_a_rejected_draft_is_not_published(self):
        native = Native(8)
        row = native.prefill("a", new=8)
        native.step({row: 4}, ids=words("b")[:2], valid=[2])
        assert native.core.request_facts(row).num_planned_tokens == 6
        native.step({row: 2}, ids=[7, 8])
        assert native.admit("ab.").num_cached_tokens == 4
        assert native.admit(np.concatenate([words("a"), words("b")[:2], ints(7, 8, 9)])).num_cached_tokens == 8

    def test_a_rejection_voids_the_step_planned_on_top(self):
        native = Native(8)
        row = native.prefill("a", new=12)
        first, second = native.plan({row: 4}), native.plan({row: 2})
        native.commit(first, ids=[1], valid=[1])
        native.commit(second, ids=[8, 9])
        facts = native.core.request_facts(row)
        assert (facts.num_written_tokens, facts.num_planned_tokens) == (5, 5)

    def test_steps_retire_in_order(self):
        native = Native(8)
        row = native.prefill("a", new=8)
        first, second = native.plan({row: 1}), native.plan({row: 1})
        with pytest.raises(ContractError, match="two steps"):
            native.plan({row: 1})
        with pytest.raises(ContractError, match="next to retire"):
            native.commit(second, ids=[1])
        native.commit(first, ids=[1])
        with pytest.raises(ContractError):
            native.commit(first, ids=[1])
        assert native.fail(second) == (second.step_id,)

    def test_a_rewind_keeps_what_is_in_flight_below_it(self):
        native = Native(8)
        row = native.prefill("a", new=8)
        plan = native.plan({row: 3})
        native.call("rewind", row, 5)
        native.commit(plan, ids=[1, 2, 3])
        assert native.core.request_tokens(row).tolist() == [*words("a"), 1]
        assert native.core.request_facts(row).num_written_tokens == 5

    def test_no_room_changes_nothing(self):
        native = Native(3)
        first, second = native.prefill("a"), native.prefill("x")
        native.prefill("q")
        answer = native.try_plan({first: 1, second: 1})
        assert isinstance(answer, _core.StepShortage)
        assert (answer.shortfall, answer.rows.tolist()) == (2, [first, second])
        assert native.core.request_facts(first).num_planned_tokens == 4

    def test_finish_waits_for_the_step(self):
        native = Native(8)
        row = native.prefill("a", new=8)
        plan = native.plan({row: 1})
        native.finish(row)
        assert native.counts("active") == (2,)
        with pytest.raises(ContractError):
            native.finish(row)
        native.commit(plan, ids=[1])
        assert native.counts("active", "cached") == (0, 1)


class TestDuplicates:
    def test_the_first_stays_and_the_copy_is_freed(self):
        native = Native(8)
        first, second = native.admit("ab.").row, native.admit("ab.").row
        own = native.blocks(second)
        native.compute(first)
        replaced = native.compute(second)
        assert [(entry.row, entry.index, entry.old_block) for entry in replaced] == [
            (second, 0, own[0]),
            (second, 1, own[1]),
        ]
        assert native.blocks(second)[:2] == native.blocks(first)[:2]
        assert native.counts("active") == (4,)

    def test_not_while_a_step_in_flight_names_it(self):
        native = Native(8)
        first, second = native.admit("a.", new=4).row, native.admit("a.", new=4).row
        duplicate = native.blocks(second)[0]
        native.compute(first)
        prefill, decode = native.plan({second: 5}), native.plan({second: 1})
        native.commit(prefill)
        assert native.core.block_states()[duplicate] == 2
        native.commit(decode, ids=[5])
        assert native.core.block_states()[duplicate] == 0


class TestFork:
    def test_the_first_writer_copies_and_the_last_writes_in_place(self):
        native = Native(8)
        parent = native.prefill("a..", new=4)
        child = native.call("fork", parent, 99, 0).row
        shared = native.blocks(parent)[1]
        plan = native.plan({child: 1, parent: 1})
        own = native.blocks(child)[1]
        assert plan.copies.tolist() == [[shared, own]]
        assert native.blocks(parent)[1] == shared
        native.commit(plan, ids=[1, 2])

    def test_a_failed_step_is_repeatable(self):
        native = Native(8)
        parent = native.prefill("a..", new=4)
        child = native.call("fork", parent, 99, 0).row
        first = native.plan({child: 1})
        native.fail(first)
        assert native.plan({child: 1}).copies.tolist() == first.copies.tolist()


class TestPreempt:
    def test_resume_reuses_what_is_still_there(self):
        native = Native(8)
        row = native.prefill("abc.", new=4)
        native.call("preempt", row)
        assert native.counts("active", "cached", "num_preempted") == (0, 3, 1)
        assert native.call("resume", row, 0).num_cached_tokens == 12


class TestBuffers:
    def test_out_is_filled_in_batch_order(self):
        native = Native(8)
        first, second = native.admit("a").row, native.admit("xy").row
        table, slots = np.full((2, 3), 7, np.int32), np.zeros(12, np.int32)
        out = _core.StepBuffers(block_table=table, slot_mapping=slots)
        plan = native.plan({second: 8, first: 4}, out)
        assert table.tolist() == [[*native.blocks(second), 0], [*native.blocks(first), 0, 0]]
        blocks = [*native.blocks(second), *native.blocks(first)]
        assert slots.tolist() == [4 * block + i for block in blocks for i in range(4)]
        assert plan.kv_indptr.tolist() == [0, 2, 3]
        assert plan.kv_last_page_len.tolist() == [4, 4]

    def test_a_table_that_is_too_narrow_is_refused(self):
        native = Native(8)
        row = native.admit("ab").row
        out = _core.StepBuffers(block_table=np.zeros((1, 1), np.int32), slot_mapping=np.zeros(8, np.int32))
        with pytest.raises(ContractError, match="wide"):
            native.plan({row: 8}, out)

    def test_arrays_are_given_to_the_third_later_step(self):
        native = Native(8)
        row = native.prefill("a", new=8)
        plan = native.plan({row: 1})
        native.commit(plan, ids=[1])
        native.decode(row, 2, 3, 4)
        with pytest.raises(ContractError, match="were given to step"):
            _ = plan.slot_mapping


def test_bad_input_changes_nothing():
    native = Native(8)
    row = native.prefill("a", new=4)
    native.prefill("b")
    before = [getattr(native.core.counts(), name) for name in dir(native.core.counts()) if not name.startswith("_")]
    for tokens in [ints(), ints(1, -1), words("a").astype(np.int64), words("ab")[::2], [1, 2]]:
        with pytest.raises(ContractError):
            native.core.admit(1, 0, tokens, -1, None, True, 0)
    for counts in [{row: 0}, {row: 5}, {row + 2: 1}, {-1: 1}]:
        with pytest.raises(ContractError):
            native.plan(counts)
    with pytest.raises(ContractError, match="twice"):
        native.core.plan_step(ints(row, row), ints(1, 1), 0)
    for call, arguments in [("finish", (9,)), ("resume", (row, 0)), ("rewind", (row, 3)), ("rewind", (row, 5))]:
        with pytest.raises(ContractError):
            native.call(call, *arguments)
    with pytest.raises(ContractError):
        native.core.admit(1, 0, words("a"), -1, [b"x", 5], True, 0)
    after = [getattr(native.core.counts(), name) for name in dir(native.core.counts()) if not name.startswith("_")]
    assert before == after
