"""Ratios come from turns of both sides, and a race that did nothing is noticed."""

import itertools
from collections.abc import Iterator

import pytest

from bench import ratios
from bench.ratios import RATIOS, RatioCase, measure
from bench.workloads import copies
from bench.workloads.base import WorkNotDoneError


class Turns:
    """Ours takes 2 seconds, the ceiling what its list says."""

    def __init__(self, clock: list[float], ceiling_s: Iterator[float]) -> None:
        self.clock, self.ceiling_s = clock, ceiling_s
        self.is_verified = False

    def ours(self) -> None:
        self.clock[0] += 2.0

    def ceiling(self) -> None:
        self.clock[0] += next(self.ceiling_s)

    def verify(self) -> dict[str, float]:
        self.is_verified = True
        return {}


def test_the_median_of_the_turns_counts_and_the_first_is_not_one(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    monkeypatch.setattr(ratios.time, "perf_counter", lambda: clock[0])
    race = Turns(clock, iter([50.0, 1.0, 1.6, 9.0]))
    case = RatioCase("case", 0.9, smoke_turns=3, full_turns=3, race=lambda: race, accepted_miss="why")
    measured = measure(case, 3)
    assert (measured.ratio, measured.best, measured.accepted_miss) == (0.8, 4.5, "why")
    assert race.is_verified


def test_names_are_unique_and_reaches_are_ratios():
    assert len({case.name for case in RATIOS}) == len(RATIOS)
    assert all(0 < case.reach <= 1 for case in RATIOS)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(copies, "RUN_BYTES", 4096)
    monkeypatch.setattr(copies, "BLOCK_BYTES", 4096 * copies.NUM_LAYERS)
    monkeypatch.setattr(copies, "NUM_BLOCKS", 4)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", RATIOS, ids=lambda case: case.name)
def test_a_turn_does_its_work(case: RatioCase):
    assert measure(case, 1).ratio > 0


def test_a_copy_that_went_elsewhere_is_noticed():
    race = copies.GatherAgainstMemcpy(1)
    race.storage.slots[1, 2, 3] ^= 1
    with pytest.raises(WorkNotDoneError, match="differ"):
        race.verify()


def test_submissions_are_counted():
    workload = copies.PlanAndSubmit()
    for _ in itertools.repeat(None, 3):
        workload.prepare()
        workload.run()
    workload.prepare()
    workload.run()
    workload.verify()
    with pytest.raises(WorkNotDoneError, match="none"):
        copies.PlanAndSubmit().verify()
