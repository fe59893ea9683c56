"""Runs the table. Times are pytest-benchmark's; each case proves afterwards that its runs did their work."""

import gc

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.cases import CASES, Case

_ROWS = [pytest.param(case, id=case.name, marks=pytest.mark.benchmark(timer=case.timer)) for case in CASES]


@pytest.mark.parametrize("case", _ROWS)
def test_speed(case: Case, benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> None:
    size = case.smoke if pytestconfig.getoption("--smoke") else case.full
    workload = case.workload()
    gc.collect()
    gc.freeze()  # what a workload keeps is no garbage, as in a serving process
    try:
        benchmark.pedantic(workload.run, setup=workload.prepare, rounds=size.runs, warmup_rounds=size.warmup)
        facts = workload.verify()
    finally:
        gc.unfreeze()
    benchmark.extra_info.update(case=case.name, units=workload.units, facts=dict(facts))
