from collections.abc import Callable

from residentkv import BlockManager, MemorySink, PoolOptions
from residentkv.contract.arbiter import RELAX_LEAST_VALUE
from residentkv.runtime.parts import RunOptions, assemble
from tests.unit.runtime.scenario import BLOCK, IDENTITY, Scenario


def run_options(**changes: object) -> RunOptions:
    given = {
        "identity": IDENTITY,
        "sinks": (),
        "clock": lambda: 0,
        "policy": RELAX_LEAST_VALUE,
        "run_id": None,
        "hash_seed": None,
    }
    return RunOptions(**{**given, **changes})


def test_events_are_kept_only_for_a_sink():
    options = PoolOptions(8, block_size=BLOCK)
    assert not assemble(options, run_options()).recorder.has_reader
    assert assemble(options, run_options(sinks=(MemorySink(),))).recorder.has_reader


def test_options_reach_the_core():
    options = PoolOptions(8, block_size=BLOCK, max_requests=3, max_blocks_per_request=5)
    parts = assemble(options, run_options())
    parts.native.admit(0, 0, _ids(1), -1, None, True, 0)
    plan = parts.native.plan_step(_ids(0), _ids(1), 0)
    assert plan.block_table.shape == (3, 5)


def test_runs_without_a_name_get_their_own(make: Callable[..., Scenario]):
    names = set()
    for _ in range(2):
        sink = MemorySink()
        with BlockManager(PoolOptions(8, block_size=BLOCK), identity=IDENTITY, sinks=(sink,)) as manager:
            manager.admit("a", [1])
        names.add(sink.events[0]["run_id"])
    assert len(names) == 2


def _ids(value: int) -> object:
    import numpy as np

    return np.full(1, value, np.int32)
