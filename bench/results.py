"""What one run of the bench found, and its file."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.cases import CASES
from bench.ratios import RatioResult

FOLDER: Final = Path(__file__).parent / "results"
_NUM_BATCHES: Final = 5


@dataclass(frozen=True)
class CaseResult:
    """Times of one unit of a case, in microseconds.

    Parameters
    ----------
    p50_us : median of the quietest of five consecutive batches of runs: neighbours are not what is measured.
    p50_all_us : median of all runs.
    accepted_miss : why p50_us may be above reach_us; None when it is not, or when nobody accepted it.
    """

    p50_us: float
    min_us: float
    p50_all_us: float
    reach_us: float | None
    accepted_miss: str | None


@dataclass
class Results:
    """Everything that goes into the file. `instructions` and `peers` say why they are missing, if they are."""

    mode: str
    cases: dict[str, CaseResult]
    reports: dict[str, CaseResult]  # no reach: for information
    facts: dict[str, float]
    ratios: dict[str, RatioResult] = field(default_factory=dict)
    instructions: Mapping[str, Any] = field(default_factory=dict)
    peers: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the results as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_benchmarks(path: Path, mode: str) -> Results:
    """Read what pytest-benchmark wrote about the table."""
    by_name = {
        entry["extra_info"]["case"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
    }
    results = Results(mode, {}, {}, {})
    for case in CASES:
        entry = by_name.get(case.name)
        if entry is None:
            continue
        times_us = [seconds * 1e6 / entry["extra_info"]["units"] for seconds in entry["stats"]["data"]]
        p50_us = round(quietest_median(times_us), 4)
        is_missed = case.reach_us is not None and p50_us > case.reach_us
        measured = CaseResult(
            p50_us=p50_us,
            min_us=round(min(times_us), 4),
            p50_all_us=round(statistics.median(times_us), 4),
            reach_us=case.reach_us,
            accepted_miss=case.accepted_miss.reason if case.accepted_miss and is_missed else None,
        )
        (results.cases if case.reach_us is not None else results.reports)[case.name] = measured
        results.facts |= entry["extra_info"]["facts"]
    return results


def quietest_median(times: Sequence[float]) -> float:
    """Smallest median of `_NUM_BATCHES` consecutive batches; of all runs when there are few."""
    if len(times) < 4 * _NUM_BATCHES:
        return statistics.median(times)
    size = len(times) // _NUM_BATCHES
    return min(statistics.median(times[begin : begin + size]) for begin in range(0, size * _NUM_BATCHES, size))
