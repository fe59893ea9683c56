from collections.abc import Callable

import numpy as np
import pytest

from residentkv import ContractError
from tests.unit.runtime.scenario import BLOCK, Scenario, tokens

Make = Callable[..., Scenario]


def test_counts_add_up_to_the_pool(make: Make):
    scenario = make(12)
    scenario.claim("c", tokens(1, 2))
    scenario.serve("a", tokens(1, 4))
    scenario.prefill("b", tokens(2, 3))
    counts = scenario.pool.counts()
    assert (counts.free, counts.cached, counts.active, counts.resident_idle) == (5, 2, 3, 2)
    assert counts.free + counts.cached + counts.active + counts.resident_idle == counts.usable


def test_block_states_name_every_row_of_storage(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2))
    scenario.serve("a", tokens(1, 3))
    scenario.prefill("b", tokens(1, 1, extra=1))
    states = scenario.pool.block_states()
    blocks = scenario.claims.blocks("c")
    assert states[0] == 5  # the null block
    assert states[blocks].tolist() == [4, 3]  # resident active, resident idle
    assert np.bincount(states, minlength=6).tolist() == [4, 1, 1, 1, 1, 1]


def test_without_a_null_block_ids_start_at_zero(make: Make):
    scenario = make(2, null_block=False)
    scenario.prefill("a", tokens(1, 2))
    assert sorted(scenario.pool.request("a").block_ids.tolist()) == [0, 1]
    assert scenario.pool.block_states().tolist() == [2, 2]


def test_a_request_shows_its_progress(make: Make):
    scenario = make(8)
    answer = scenario.manager.admit("a", tokens(1, 2, extra=1), max_new_tokens=BLOCK)
    scenario.compute(answer, BLOCK + 1)
    plan = scenario.manager.plan_step([answer.row], [2])
    view = scenario.pool.request("a")
    assert (view.request_id, view.row, view.status) == ("a", answer.row, "running")
    assert (view.num_committed_tokens, view.num_written_tokens, view.num_planned_tokens) == (4, 5, 7)
    assert (view.num_known_tokens, view.peak_blocks, len(view.block_ids)) == (9, 4, 3)
    assert view.token_ids.tolist() == tokens(1, 2, extra=1).tolist()
    scenario.manager.commit_step(plan.step_id)


def test_unfinished_requests_in_order_of_admission(make: Make):
    scenario = make(8)
    for name in ("b", "a", "c"):
        scenario.prefill(name, tokens(1, 1))
    scenario.manager.finish("a")
    assert scenario.pool.request_ids() == ("b", "c")
    with pytest.raises(ContractError, match="request 'a' is not admitted"):
        scenario.pool.request("a")


def test_what_a_view_returns_is_a_copy(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(1, 2))
    scenario.pool.request("a").block_ids[:] = 7
    scenario.pool.request("a").token_ids[:] = 7
    scenario.pool.block_states()[:] = 0
    scenario.check()
    assert scenario.pool.request("a").token_ids.tolist() == tokens(1, 2).tolist()
