import json
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.cases import CASES
from bench.results import quietest_median, read_benchmarks


def report(tmp_path: Path, times_s: list[float], units: int) -> Path:
    entries = [
        {"extra_info": {"case": case.name, "units": units, "facts": {"fact": 1.0}}, "stats": {"data": times_s}}
        for case in CASES
    ]
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"benchmarks": entries}))
    return path


def test_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


def test_the_quietest_batch_counts():
    assert quietest_median([9.0] * 10 + [5.0, 6.0, 7.0, 6.0, 6.0] * 2 + [8.0] * 30) == 6.0


def test_few_runs_are_one_batch():
    assert quietest_median([3.0, 1.0, 2.0]) == 2.0


def test_one_lucky_run_does_not_make_a_median():
    assert quietest_median([1.0] + [9.0] * 49) == 9.0


def test_times_are_microseconds_of_one_unit(tmp_path: Path):
    measured = read_benchmarks(report(tmp_path, [0.004] * 25, units=1000), "smoke")
    assert measured.cases["admit_64_blocks"].p50_us == pytest.approx(4.0)
    assert measured.facts == {"fact": 1.0}


def test_the_file_has_the_agreed_keys(tmp_path: Path):
    measured = read_benchmarks(report(tmp_path, [0.004] * 25, units=1), "smoke")
    measured.write(tmp_path / "results" / "latest.json")
    written = json.loads((tmp_path / "results" / "latest.json").read_text())
    assert written == asdict(measured)
    assert set(written["cases"]) == {case.name for case in CASES if case.reach_us is not None}
    for row in written["cases"].values():
        assert {"p50_us", "reach_us", "accepted_miss"} <= set(row)
        assert row["accepted_miss"] is None or isinstance(row["accepted_miss"], str)
