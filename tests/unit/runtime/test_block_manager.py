import copy
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from residentkv import (
    Admitted,
    BlockManager,
    ContractError,
    Deferred,
    PoolOptions,
    StepBuffers,
    StepPlan,
)
from tests.unit.runtime.scenario import BLOCK, IDENTITY, Scenario, tokens

Make = Callable[..., Scenario]


# --- requests ---


def test_a_second_request_computes_only_its_suffix(make: Make):
    scenario = make(8)
    assert scenario.serve("a", tokens(1, 3)) == Admitted("a", 0, 0, 3)
    assert scenario.serve("b", tokens(1, 3, extra=1)).num_cached_tokens == 3 * BLOCK
    assert scenario.serve("c", tokens(1, 3)).num_cached_tokens == 2 * BLOCK  # one token is always computed


def test_future_reuse_false_keeps_content_private(make: Make):
    scenario = make(8)
    scenario.serve("a", tokens(1, 3), future_reuse=False)
    assert scenario.serve("b", tokens(1, 3)).num_cached_tokens == 0
    assert scenario.serve("c", tokens(1, 3)).num_cached_tokens == 2 * BLOCK


def test_identities_and_extra_keys_never_share(make: Make):
    scenario = make(16)
    scenario.serve("a", tokens(1, 3))
    assert scenario.serve("b", tokens(1, 3), identity=IDENTITY).num_cached_tokens == 2 * BLOCK
    assert scenario.serve("c", tokens(1, 3), identity=replace(IDENTITY, adapter_id="lora")).num_cached_tokens == 0
    assert scenario.serve("d", tokens(1, 3), extra_keys=[None, b"image"]).num_cached_tokens == BLOCK


@pytest.mark.parametrize(
    "as_input", [list, tuple, lambda ids: ids.astype(np.int64), lambda ids: np.repeat(ids, 2)[::2]]
)
def test_tokens_in_any_integer_form_are_the_same_tokens(make: Make, as_input: Callable[[Any], Any]):
    scenario = make(8)
    scenario.serve("a", tokens(1, 3))
    assert scenario.serve("b", as_input(tokens(1, 3))).num_cached_tokens == 2 * BLOCK


def test_the_callers_tokens_may_change_after_the_call(make: Make):
    scenario = make(8)
    ids = tokens(1, 3)
    answer = scenario.manager.admit("a", ids)
    ids[:] = 0
    scenario.compute(answer, 3 * BLOCK)
    scenario.manager.finish("a")
    assert scenario.serve("b", tokens(1, 3)).num_cached_tokens == 2 * BLOCK


def test_rows_are_reused_and_ids_may_return(make: Make):
    scenario = make(8, max_requests=2)
    first = scenario.prefill("a", tokens(1, 1))
    scenario.prefill("b", tokens(2, 1))
    scenario.manager.finish("a")
    assert scenario.prefill("a", tokens(3, 1)).row == first.row
    assert set(scenario.pool.request_ids()) == {"a", "b"}


def test_decode_learns_the_input_tokens(make: Make):
    scenario = make(8)
    answer = scenario.prefill("a", tokens(1, 1), max_new_tokens=2 * BLOCK)
    generated = [901, 902, 903, 904]
    for token in generated:
        plan = scenario.manager.plan_step([answer.row], [1])
        scenario.manager.commit_step(plan.step_id, token_ids=[token])
    scenario.manager.finish("a")
    continued = [*tokens(1, 1).tolist(), *generated, 5]
    assert scenario.serve("b", continued).num_cached_tokens == 2 * BLOCK


def test_rejected_drafts_are_planned_again(make: Make):
    scenario = make(8)
    answer = scenario.prefill("a", tokens(1, 1), max_new_tokens=3 * BLOCK)
    plan = scenario.manager.plan_step([answer.row], [3])
    slots = plan.slot_mapping.tolist()
    scenario.manager.commit_step(plan.step_id, num_valid=[1], token_ids=[901])
    again = scenario.manager.plan_step([answer.row], [2])
    assert again.slot_mapping.tolist() == slots[1:]


def test_a_failed_step_publishes_nothing(make: Make):
    scenario = make(8)
    answer = scenario.manager.admit("a", tokens(1, 2))
    plan = scenario.manager.plan_step([answer.row], [2 * BLOCK])
    assert scenario.manager.fail_step(plan.step_id) == (plan.step_id,)
    assert scenario.pool.request("a").num_planned_tokens == 0
    assert scenario.serve("b", tokens(1, 2)).num_cached_tokens == 0


def test_equal_content_is_kept_once(make: Make):
    scenario = make(8)
    rows = [scenario.manager.admit(name, tokens(1, 2)).row for name in ("a", "b")]
    plan = scenario.manager.plan_step(rows, [2 * BLOCK] * 2)
    replaced = scenario.manager.commit_step(plan.step_id)
    assert [(entry.row, entry.index) for entry in replaced] == [(rows[1], 0), (rows[1], 1)]
    assert np.array_equal(scenario.pool.request("a").block_ids, scenario.pool.request("b").block_ids)


def test_preempt_and_resume_keep_row_and_tokens(make: Make):
    scenario = make(8)
    answer = scenario.prefill("a", tokens(1, 2))
    scenario.manager.preempt("a")
    assert scenario.pool.request("a").status == "preempted"
    resumed = scenario.manager.resume("a")
    assert (resumed.request_id, resumed.row, resumed.num_cached_tokens) == ("a", answer.row, BLOCK)


def test_a_preempted_request_waits_for_room(make: Make):
    scenario = make(4)
    scenario.prefill("a", tokens(1, 2))
    scenario.manager.preempt("a")
    scenario.prefill("b", tokens(2, 4))
    answer = scenario.manager.resume("a")
    assert isinstance(answer, Deferred)
    assert answer.request_id == "a"
    scenario.manager.finish("b")
    assert isinstance(scenario.manager.resume("a"), Admitted)


def test_a_fork_shares_and_copies_on_write(make: Make):
    scenario = make(8)
    parent = scenario.prefill("a", tokens(1, 1, extra=2), max_new_tokens=BLOCK)
    child = scenario.manager.fork("a", "b")
    assert (child.request_id, child.num_cached_tokens) == ("b", BLOCK + 2)
    assert np.array_equal(scenario.pool.request("a").block_ids, scenario.pool.request("b").block_ids)
    plan = scenario.manager.plan_step([child.row], [1])
    ((source, target),) = plan.copies.tolist()
    assert source == scenario.pool.request("a").block_ids[1]
    assert target == scenario.pool.request("b").block_ids[1]
    assert parent.row != child.row


def test_a_fork_of_a_private_request_is_private(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(1, 1), future_reuse=False)
    scenario.manager.fork("a", "b")
    assert [event["event"] for event in scenario.events()][-1] == "future_reuse_denied"


def test_rewind_drops_planned_tokens(make: Make):
    scenario = make(8)
    answer = scenario.prefill("a", tokens(1, 1, extra=1), max_new_tokens=BLOCK)
    plan = scenario.manager.plan_step([answer.row], [2])
    scenario.manager.commit_step(plan.step_id, token_ids=[901, 902])
    scenario.manager.rewind("a", BLOCK + 1)
    assert scenario.pool.request("a").num_known_tokens == BLOCK + 1


# --- steps ---


def test_inputs_of_steps_in_any_integer_form(make: Make):
    scenario = make(8)
    answer = scenario.manager.admit("a", tokens(1, 2), max_new_tokens=4)
    plan = scenario.manager.plan_step((answer.row,), np.array([2 * BLOCK], np.int64))
    scenario.manager.commit_step(np.int64(plan.step_id), num_valid=[2 * BLOCK])
    plan = scenario.manager.plan_step([answer.row], [1])
    scenario.manager.commit_step(plan.step_id, token_ids=(901,))
    assert scenario.pool.request("a").num_written_tokens == 2 * BLOCK + 1


def test_a_step_writes_into_the_callers_memory(make: Make):
    scenario = make(8)
    table, slots = np.zeros((1, 8), np.int32), np.zeros(16, np.int32)
    answer = scenario.manager.admit("a", tokens(1, 2))
    plan = scenario.manager.plan_step([answer.row], [5], StepBuffers(block_table=table, slot_mapping=slots))
    assert isinstance(plan, StepPlan)
    blocks = scenario.pool.request("a").block_ids
    assert table[0, :2].tolist() == blocks.tolist()
    assert slots[:5].tolist() == [*(blocks[0] * BLOCK + np.arange(4)), blocks[1] * BLOCK]


def test_two_steps_may_be_in_flight(make: Make):
    scenario = make(8)
    answer = scenario.manager.admit("a", tokens(1, 2))
    plans = [scenario.manager.plan_step([answer.row], [BLOCK]) for _ in range(2)]
    for plan in plans:
        scenario.manager.commit_step(plan.step_id)
    assert scenario.pool.request("a").num_committed_tokens == 2 * BLOCK


# --- faults and the end ---


def test_invalidation_preempts_whoever_holds_the_content(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(1, 2))
    scenario.prefill("b", tokens(2, 2))
    block = scenario.pool.request("a").block_ids[0]
    assert scenario.manager.invalidate([block], cause="ecc") == ("a",)
    assert scenario.manager.resume("a").num_cached_tokens == 0


def test_reset_demotes_every_claim_first(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2))
    scenario.serve("a", tokens(1, 2))
    scenario.prefill("b", tokens(2, 2))
    assert scenario.manager.reset() == ("b",)
    assert len(scenario.claims) == 0
    assert scenario.story()[-3:] == ["resident_claim_demoted"] + ["resident_claim_block_lost_after_release"] * 2
    assert scenario.pool.counts().free == 8
    assert scenario.manager.resume("b").num_cached_tokens == 0


def test_a_reset_with_a_step_in_flight_changes_nothing(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2))
    answer = scenario.manager.admit("a", tokens(1, 2))
    plan = scenario.manager.plan_step([answer.row], [BLOCK])
    before = scenario.state()
    with pytest.raises(ContractError, match="1 steps are in flight: commit or fail them before a reset"):
        scenario.manager.reset()
    assert scenario.state() == before
    scenario.manager.commit_step(plan.step_id)


def test_close_is_idempotent_and_final(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(1, 2))
    with scenario.manager as manager:
        assert manager is scenario.manager
    manager.close()
    for call in (
        lambda: manager.admit("b", tokens(1, 2)),
        lambda: manager.plan_step([0], [1]),
        lambda: manager.commit_step(1),
        lambda: manager.fail_step(1),
        lambda: manager.finish("a"),
        lambda: manager.preempt("a"),
        lambda: manager.resume("a"),
        lambda: manager.fork("a", "b"),
        lambda: manager.rewind("a", 0),
        lambda: manager.invalidate([1], cause="ecc"),
        manager.reset,
        lambda: scenario.claim("c", tokens(1, 2)),
        lambda: scenario.claims.release("c"),
        lambda: scenario.claims.explain(tokens(1, 2)),
        lambda: len(scenario.claims),
        scenario.pool.counts,
        scenario.pool.check_invariants,
    ):
        with pytest.raises(ContractError, match="the manager is closed"):
            call()


# --- bad input: a clear error, and nothing changed ---


@pytest.fixture
def busy(make: Make) -> Scenario:
    """A claim, a running request "a" in row 0 with 2 of its 3 blocks computed, a preempted one "p"."""
    scenario = make(16, max_requests=3)
    scenario.claim("c", tokens(9, 2))
    scenario.compute(scenario.manager.admit("a", tokens(1, 3), max_new_tokens=0), 2 * BLOCK)
    scenario.prefill("p", tokens(2, 1))
    scenario.manager.preempt("p")
    return scenario


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.admit("a", tokens(3, 1)), "request 'a' is already admitted; finish it first"),
        (lambda m: m.admit("", tokens(3, 1)), "a request id must be a non-empty str, got ''"),
        (lambda m: m.admit(7, tokens(3, 1)), "a request id must be a non-empty str, got 7"),
        (lambda m: m.admit("b", []), "tokens must not be empty"),
        (lambda m: m.admit("b", tokens(3, 0)), "tokens must not be empty"),
        (lambda m: m.admit("b", [1, -2]), "token ids must be >= 0, got -2"),
        (lambda m: m.admit("b", np.array([1, -2], np.int32)), "token ids must be >= 0, got -2"),
        (lambda m: m.admit("b", [2**31]), "tokens must fit int32, got values from 2147483648"),
        (lambda m: m.admit("b", [1.5]), "tokens must be integers, got dtype float64"),
        (lambda m: m.admit("b", np.ones((2, 2), np.int32)), "tokens must be one-dimensional"),
        (lambda m: m.admit("b", None), "tokens must be one-dimensional"),
        (
            lambda m: m.admit("b", tokens(3, 1), max_new_tokens=-1),
            "max_new_tokens must be an int >= 0 of at most 63 bits, got -1",
        ),
        (lambda m: m.admit("b", tokens(3, 1), max_new_tokens=float("nan")), "max_new_tokens must be an int >= 0"),
        (lambda m: m.admit("b", tokens(3, 1), identity=replace(IDENTITY, block_size=8)), "does not match the pool's"),
        (lambda m: m.admit("b", tokens(3, 1), extra_keys=["x"]), "extra_keys must be a sequence with bytes or None"),
        (lambda m: m.admit("b", tokens(3, 1), extra_keys=5), "extra_keys must be a sequence with bytes or None"),
        (lambda m: m.finish("z"), "request 'z' is not admitted"),
        (lambda m: m.preempt("z"), "request 'z' is not admitted"),
        (lambda m: m.preempt("p"), "is not running"),
        (lambda m: m.resume("a"), "is not preempted"),
        (lambda m: m.resume("z"), "request 'z' is not admitted"),
        (lambda m: m.fork("z", "b"), "request 'z' is not admitted"),
        (lambda m: m.fork("a", "p"), "request 'p' is already admitted"),
        (lambda m: m.fork("a", None), "a request id must be a non-empty str, got None"),
        (lambda m: m.fork("a", "b"), "known tokens of the parent written"),
        (lambda m: m.rewind("a", BLOCK), "must be between num_committed=8"),
        (lambda m: m.rewind("a", 99), "must be between num_committed=8"),
        (lambda m: m.rewind("a", 1.5), "num_tokens must be an int >= 0 of at most 63 bits, got 1.5"),
        (lambda m: m.rewind("a", -1), "num_tokens must be an int >= 0 of at most 63 bits, got -1"),
        (lambda m: m.plan_step([0], [BLOCK + 1]), "more tokens than were declared"),
        (lambda m: m.plan_step([0], [0]), "must be > 0"),
        (lambda m: m.plan_step([0], [-1]), "must be > 0"),
        (lambda m: m.plan_step([0, 0], [1, 1]), "twice"),
        (lambda m: m.plan_step([5], [1]), "row 5"),
        (lambda m: m.plan_step([-1], [1]), "row -1"),
        (lambda m: m.plan_step([1], [1]), "row 1 is not running"),
        (lambda m: m.plan_step([], []), "same length > 0"),
        (lambda m: m.plan_step([0], [1, 1]), "same length"),
        (lambda m: m.plan_step([0.0], [1]), "rows must be integers, got dtype float64"),
        (lambda m: m.plan_step([0], [[1]]), "num_tokens must be one-dimensional"),
        (lambda m: m.plan_step([0], [1], np.zeros(4)), "out must be StepBuffers or None"),
        (lambda m: m.commit_step(77), "step 77 can not be committed now"),
        (lambda m: m.commit_step(1), "step 1 can not be committed now"),
        (lambda m: m.commit_step("1"), "step_id must be an int >= 0 of at most 63 bits, got '1'"),
        (lambda m: m.commit_step(-1), "step_id must be an int >= 0 of at most 63 bits, got -1"),
        (lambda m: m.fail_step(77), "step 77 is not in flight"),
        (lambda m: m.fail_step(2**70), "step_id must be an int >= 0 of at most 63 bits"),
        (lambda m: m.fail_step(None), "step_id must be an int >= 0 of at most 63 bits, got None"),
        (lambda m: m.invalidate([99], cause="ecc"), "block 99 does not exist"),
        (lambda m: m.invalidate([0], cause="ecc"), "block 0 does not exist"),
        (lambda m: m.invalidate([-1], cause="ecc"), "block -1 does not exist"),
        (lambda m: m.invalidate([1.0], cause="ecc"), "block_ids must be integers"),
        (lambda m: m.invalidate([1], cause=""), "cause must be a non-empty str, got ''"),
        (lambda m: m.invalidate([1], cause=None), "cause must be a non-empty str, got None"),
    ],
)
def test_bad_input_says_what_was_wrong_and_changes_nothing(
    busy: Scenario, call: Callable[[BlockManager], object], message: str
):
    busy.manager.events.flush()
    before = busy.state()
    with pytest.raises(ContractError, match=message):
        call(busy.manager)
    assert busy.state() == before
    assert busy.manager.events.num_pending == 0
    busy.manager.commit_step(busy.manager.plan_step([0], [BLOCK]).step_id)  # and the manager still works


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_valid": [BLOCK + 1]}, "must be between 0 and the 4 tokens planned"),
        ({"num_valid": [-1]}, "must be between 0 and the 4 tokens planned"),
        ({"num_valid": [1, 1]}, "num_valid has 2 entries, the step has 1 rows"),
        ({"num_valid": [0.5]}, "num_valid must be integers"),
        ({"token_ids": [5]}, "token_ids has 1 ids, but 0 written tokens are unknown"),
        ({"token_ids": [[5]]}, "token_ids must be one-dimensional"),
    ],
)
def test_a_bad_commit_leaves_the_step_in_flight(busy: Scenario, arguments: dict[str, object], message: str):
    plan = busy.manager.plan_step([0], [BLOCK])
    before = busy.state()
    with pytest.raises(ContractError, match=message):
        busy.manager.commit_step(plan.step_id, **arguments)
    assert busy.state() == before
    busy.manager.commit_step(plan.step_id)
    with pytest.raises(ContractError, match="can not be committed now"):
        busy.manager.commit_step(plan.step_id)


def test_a_finished_request_can_not_be_finished_again(busy: Scenario):
    busy.manager.finish("a")
    before = busy.state()
    with pytest.raises(ContractError, match="request 'a' is not admitted: it is unknown or already finished"):
        busy.manager.finish("a")
    assert busy.state() == before


def test_a_third_step_in_flight_is_an_error(busy: Scenario):
    for _ in range(2):
        busy.manager.plan_step([0], [1])
    with pytest.raises(ContractError, match="two steps are in flight"):
        busy.manager.plan_step([0], [1])


def test_more_requests_than_rows_is_an_error(busy: Scenario):
    busy.manager.admit("b", tokens(3, 1))
    with pytest.raises(ContractError, match="max_requests=3"):
        busy.manager.admit("d", tokens(4, 1))


def test_a_manager_that_can_not_be_built_says_why():
    with pytest.raises(ContractError, match="block_size=4 does not match the pool's block_size=16"):
        BlockManager(PoolOptions(8), identity=IDENTITY)
    with pytest.raises(ContractError, match="slot numbers beyond int32"):
        BlockManager(PoolOptions(2**31 // 4, block_size=4), identity=IDENTITY)
    for seed in (-1, 2**64, 1.5):
        with pytest.raises(ContractError, match=r"hash_seed must be an int in \[0, 2\*\*64\) or None"):
            BlockManager(PoolOptions(8, block_size=4), identity=IDENTITY, hash_seed=seed)


# --- one caller at a time, one process, one life ---


@pytest.mark.parametrize("call", [lambda m: m.admit("b", [1]), lambda m: m.reset(), lambda m: len(m.claims)])
def test_a_call_from_inside_the_clock_is_an_overlap(make: Make, call: Callable[[BlockManager], object]):
    scenario = make(8)
    caught: list[ContractError] = []

    def clock() -> int:
        if not caught:
            with pytest.raises(ContractError, match="another call of this manager is still running") as error:
                call(manager)
            caught.append(error.value)
        return 5

    manager = BlockManager(PoolOptions(8, block_size=BLOCK), identity=IDENTITY, clock=clock)
    assert isinstance(manager.admit("a", tokens(1, 2)), Admitted)
    assert len(caught) == 1
    manager.close()
    assert scenario.pool.counts().free == 8


def test_two_threads_get_errors_or_their_turn_and_nothing_breaks():
    slow = threading.local()

    def clock() -> int:
        if getattr(slow, "yields", False):
            time.sleep(0.0002)  # lets the other thread run in the middle of a call
        return 0

    manager = BlockManager(PoolOptions(64, block_size=BLOCK, max_requests=8), identity=IDENTITY, clock=clock)
    overlaps = []

    def serve(request_id: str, seed: int) -> None:
        try:
            if isinstance(manager.admit(request_id, tokens(seed, 3)), Admitted):
                manager.finish(request_id)
        except ContractError as error:
            overlaps.append(error)

    def work(name: str) -> None:
        slow.yields = True
        for i in range(150):
            serve(f"{name}{i % 3}", i % 5)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps
    messages = ("another call", "two threads", "is already admitted")  # the last: its own finish was turned away
    assert all(any(text in str(error) for text in messages) for error in overlaps)
    manager.pool.check_invariants()
    for request_id in manager.pool.request_ids():
        manager.finish(request_id)
    assert manager.pool.counts().num_requests == 0
    manager.close()


def _use_in_child(manager: BlockManager, connection: Any) -> None:
    try:
        manager.admit("child", [1, 2, 3])
    except ContractError as error:
        connection.send(str(error))
    else:
        connection.send("it worked")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_may_not_use_the_manager(make: Make):
    scenario = make(8)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_use_in_child, args=(scenario.manager, sender))
    child.start()
    assert "belongs to the parent process" in receiver.recv()
    child.join()
    assert isinstance(scenario.manager.admit("parent", tokens(1, 1)), Admitted)


def test_a_manager_does_not_pickle_or_copy(make: Make):
    manager = make(8).manager
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(manager)
    with pytest.raises(TypeError, match="pickle"):
        copy.copy(manager)
