"""The gate of `make bench-smoke`: what it lets pass, and each thing that makes it fail."""

from collections.abc import Mapping

import pytest

from bench.cases import CASES, FACT_LIMITS, INSTRUCTION_BUDGETS
from bench.gate import regressions
from bench.instructions.callgrind import CLAIMS, Counts
from bench.ratios import RatioResult
from bench.results import CaseResult, Results


def results(*, slowed: Mapping[str, float] = {}, facts: Mapping[str, float] = FACT_LIMITS) -> Results:
    """Every case exactly at its reach, times the factor that `slowed` gives it."""
    cases = {}
    for case in CASES:
        if case.reach_us is not None:
            time_us = case.reach_us * slowed.get(case.name, 1.0)
            cases[case.name] = CaseResult(time_us, time_us, time_us, case.reach_us, None)
    return Results("smoke", cases, {}, dict(facts))


def counts(*, claims: str = "none", case: str = "admit", factor: float = 1.0) -> Counts:
    """Every count exactly at its budget, except one."""
    of = {each: dict(INSTRUCTION_BUDGETS) for each in CLAIMS}
    of[claims][case] = round(of[claims][case] * factor)
    return Counts(num_claims=500, of=of)


def test_what_is_within_its_limits_passes():
    assert list(regressions(results(), counts())) == []
    assert list(regressions(results(), None)) == []


def test_a_busy_neighbour_is_no_regression():
    assert list(regressions(results(slowed={case.name: 2.5 for case in CASES}), None)) == []


def test_a_ratio_far_below_its_reach_is_named():
    measured = results()
    measured.ratios["near"] = RatioResult(0.5, 0.5, 0.8, None)
    measured.ratios["far"] = RatioResult(0.4, 0.47, 0.8, None)
    (sentence,) = regressions(measured, None)
    assert sentence.startswith("far: 0.47 of the ceiling")


def test_a_slow_case_is_named():
    (sentence,) = regressions(results(slowed={"create_1m": 4.0}), None)
    assert sentence.startswith("create_1m: ")


@pytest.mark.parametrize("claims", ["elsewhere", "one", "all"])
def test_claims_may_not_cost_six_percent(claims: str):
    (sentence,) = regressions(results(), counts(claims=claims, case="hit", factor=1.06))
    assert "hit" in sentence
    assert f"({claims})" in sentence
    assert list(regressions(results(), counts(claims=claims, case="hit", factor=1.04))) == []


def test_more_instructions_than_the_budget_allows():
    more = counts()
    of = {claims: {case: count * 1.4 for case, count in by_case.items()} for claims, by_case in more.of.items()}
    assert len(list(regressions(results(), Counts(500, of)))) == len(INSTRUCTION_BUDGETS)


def test_metadata_has_a_limit_and_must_be_measured():
    (too_large,) = regressions(results(facts={"metadata_bytes_per_block": 65.0}), None)
    assert "65.0" in too_large
    (missing,) = regressions(results(facts={}), None)
    assert "was not measured" in missing
