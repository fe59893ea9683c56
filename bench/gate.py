"""What makes `make bench-smoke` fail.

A shared machine doubles any time, so times are gated loosely and by their minimum; instruction counts do not depend on
neighbours and are gated tightly.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from bench.cases import CASES, FACT_LIMITS, INSTRUCTION_BUDGETS
from bench.instructions.callgrind import Counts
from bench.results import Results

TIME_FACTOR: Final = 3.0  # over the reach, or over what was measured when its miss was accepted
CLAIM_TOLERANCE: Final = 0.05  # what 10,000 claims may add to an operation that does not need them
RATIO_FACTOR: Final = 0.6  # of the reach, by the best turn
BUDGET_FACTOR: Final = 1.3  # compilers and Python versions differ


def regressions(results: Results, counts: Counts | None) -> Iterator[str]:
    """Say what is wrong, one sentence each."""
    yield from _slow(results)
    yield from _far_below(results)
    yield from _large(results.facts)
    if counts is not None:
        yield from _claims_cost(counts)
        yield from _too_many(counts)


def _slow(results: Results) -> Iterator[str]:
    for case in CASES:
        if case.name not in results.cases or case.reach_us is None:
            continue
        expected = case.accepted_miss.measured_us if case.accepted_miss else case.reach_us
        fastest = results.cases[case.name].min_us
        if fastest > TIME_FACTOR * expected:
            yield f"{case.name}: the fastest run took {fastest:.3g} us, more than {TIME_FACTOR:g} x {expected:g} us"


def _far_below(results: Results) -> Iterator[str]:
    for name, case in results.ratios.items():
        if case.best < RATIO_FACTOR * case.reach:
            yield f"{name}: {case.best:.2f} of the ceiling at best, less than {RATIO_FACTOR:g} x {case.reach:g}"


def _large(facts: Mapping[str, float]) -> Iterator[str]:
    for name, limit in FACT_LIMITS.items():
        if name not in facts:
            yield f"{name} was not measured"
        elif facts[name] > limit:
            yield f"{name}: {facts[name]:.1f}, at most {limit:g}"


def _claims_cost(counts: Counts) -> Iterator[str]:
    for claims, by_case in counts.of.items():
        for case in by_case:
            change = counts.change(claims, case)
            if change > CLAIM_TOLERANCE:
                limit = f"at most {CLAIM_TOLERANCE:.0%}"
                yield f"{case}: {counts.num_claims} claims ({claims}) cost {change:+.1%} instructions, {limit}"


def _too_many(counts: Counts) -> Iterator[str]:
    for case, budget in INSTRUCTION_BUDGETS.items():
        taken = counts.of["none"][case]
        if taken > BUDGET_FACTOR * budget:
            yield f"{case}: {taken:.0f} instructions, more than {BUDGET_FACTOR:g} x {budget}"
