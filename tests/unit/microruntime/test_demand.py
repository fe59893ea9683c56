import pytest

from residentkv.contract.decision import Admitted, NeedsRoom
from residentkv.contract.errors import ContractError
from residentkv.microruntime.demand import Attention, DemandPlan
from tests.unit.microruntime.scenario import Scenario

CHUNKS = (20, 20, 20, 10)


def test_chunking_alone_does_not_bound_live_kv():
    plan = DemandPlan(CHUNKS)
    assert plan.live_by_step == (20, 40, 60, 70)
    assert plan.peak_blocks == plan.total_blocks == 70
    assert plan.first_blocked_step(20) == 2
    assert plan.first_blocked_step(70) is None


@pytest.mark.parametrize(("window", "live"), [(0, CHUNKS), (10, (20, 30, 30, 20)), (100, (20, 40, 60, 70))])
def test_a_window_bounds_it(window: int, live: tuple[int, ...]):
    assert DemandPlan(CHUNKS, Attention.SLIDING_WINDOW, window).live_by_step == live


def test_recomputing_bounds_it_at_a_cost():
    plan = DemandPlan(CHUNKS, Attention.RECOMPUTE)
    assert plan.peak_blocks == 20
    assert plan.recomputed_blocks == 20 + 40 + 60


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": ()},
        {"chunks": (3, 0)},
        {"chunks": (3,), "window_blocks": 2},
        {"chunks": (3,), "attention": Attention.SLIDING_WINDOW},
        {"chunks": (3,), "attention": Attention.SLIDING_WINDOW, "window_blocks": -1},
    ],
)
def test_a_plan_that_means_nothing_is_an_error(options):
    with pytest.raises(ContractError):
        DemandPlan(**options)


@pytest.mark.parametrize(
    "plan",
    [
        DemandPlan((2, 2, 1)),
        DemandPlan((2, 2, 1), Attention.SLIDING_WINDOW, 1),
        DemandPlan((2, 2, 1), Attention.RECOMPUTE),
    ],
)
def test_a_run_holds_what_its_plan_says(plan: DemandPlan):
    scenario = Scenario(plan.peak_blocks)
    assert isinstance(scenario.micro.admit_plan("r", plan), Admitted)
    held = [len(scenario.micro.ledger.requests["r"].blocks)]
    while len(held) < len(plan.chunks):
        assert scenario.micro.advance("r") is None
        held.append(len(scenario.micro.ledger.requests["r"].blocks))
    assert tuple(held) == plan.live_by_step
    scenario.micro.finish("r")
    assert scenario.micro.ledger.pool.num_free == plan.peak_blocks
    assert ("active_live_bounded" in scenario.story()) == (plan.attention is not Attention.FULL)


def test_a_chunk_without_room_changes_nothing():
    scenario = Scenario(4)
    scenario.micro.admit_plan("r", DemandPlan((2, 2)))
    scenario.admit("s", "ab")
    assert scenario.micro.advance("r") == NeedsRoom(("r",), 2)
    scenario.micro.finish("s")
    assert scenario.micro.advance("r") is None
