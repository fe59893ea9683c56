"""A finding holds exactly when what was observed is what was required."""

import pytest

from residentkv.conformance.finding import Finding, at_least, equals, holds, well_formed
from residentkv.conformance.observation import Observation


def test_equality():
    assert equals("x", [1], [1]) == Finding("x", [1], [1], holds=True)
    assert equals("x", [1], []) == Finding("x", [1], [], holds=False)


@pytest.mark.parametrize(("observed", "verdict"), [(49, False), (50, True), (51, True)])
def test_a_minimum_is_enough(observed, verdict):
    assert at_least("x", 50, observed) == Finding("x", ">= 50", observed, verdict)


@pytest.mark.parametrize("fact", [True, False])
def test_a_fact(fact):
    assert holds("x", when=fact) == Finding("x", required=True, observed=fact, holds=fact)


def test_any_problem_makes_a_trace_malformed():
    assert well_formed(Observation()).holds
    assert not well_formed(Observation(problems=["line 1: not JSON"])).holds
