"""THE table of ratios: our way of moving bytes against a ceiling, both in one run, turn by turn.

A ratio does not depend on how fast the machine is, and little on its neighbours: both sides meet the same ones.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from bench.workloads import copies
from bench.workloads.base import Facts


class Race(Protocol):
    """The same bytes in two ways."""

    def ours(self) -> None:
        """Do it with the product."""

    def ceiling(self) -> None:
        """Do it in the plainest way, without what the product promises."""

    def verify(self) -> Facts:
        """Prove that ours did its work. Raises WorkNotDoneError."""


@dataclass(frozen=True)
class RatioCase:
    """One row: the ceiling's time divided by ours should reach `reach`, in the median of the turns."""

    name: str
    reach: float
    smoke_turns: int
    full_turns: int
    race: Callable[[], Race]
    accepted_miss: str | None = None


@dataclass(frozen=True)
class RatioResult:
    """`ratio` is the median of the turns, `best` the best turn; 1 is as fast as the ceiling."""

    ratio: float
    best: float
    reach: float
    accepted_miss: str | None


_TURNS: Final = {"smoke_turns": 5, "full_turns": 31}

RATIOS: Final = (
    *(
        RatioCase(f"copy_{name}_{num_threads}_threads", reach, **_TURNS, race=partial(race, num_threads))
        for num_threads in (1, 2)
        for name, reach, race in (
            ("gather_memcpy", 0.70, copies.GatherAgainstMemcpy),
            ("scatter_memcpy", 0.70, copies.ScatterAgainstMemcpy),
            ("gather_loop", 0.95, copies.GatherAgainstLoop),
            ("scatter_loop", 0.95, copies.ScatterAgainstLoop),
        )
    ),
    RatioCase("disk_write", 0.8, **_TURNS, race=copies.DiskWrite),
    RatioCase("disk_read", 0.8, **_TURNS, race=copies.DiskRead),
)


def measure(case: RatioCase, num_turns: int) -> RatioResult:
    """Run both sides in turn; the first turn is not counted."""
    race = case.race()
    ratios = [_timed(race.ceiling) / _timed(race.ours) for _ in range(num_turns + 1)][1:]
    race.verify()
    ratio = round(statistics.median(ratios), 3)
    return RatioResult(ratio, round(max(ratios), 3), case.reach, case.accepted_miss if ratio < case.reach else None)


def _timed(work: Callable[[], None]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
