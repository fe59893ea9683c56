"""The capacity sweep: what arithmetic expects, and that the native runtime does it."""

import pytest

from residentkv.conformance.observation import Observation
from residentkv.conformance.suite import Suite
from residentkv.conformance.sweep import USABLE_BLOCKS, SweepPolicy, SweepRow, expected_row, observed_row
from residentkv.runtime.conformance_adapter import create

NATIVE, NO_ADMIT, HARD = SweepPolicy


def test_cells():
    assert USABLE_BLOCKS == (80, 90, 100, 110, 120, 130, 150)
    assert [policy.value for policy in SweepPolicy] == ["native", "write_no_admit", "hard_resident_exclude"]


@pytest.mark.parametrize(
    ("policy", "action", "preserved", "victims", "reusable"),
    [
        (NATIVE, "active_served", False, 50, True),
        (NO_ADMIT, "active_served", False, 50, False),
        (HARD, "active_refused", True, 0, False),
    ],
)
def test_expected_at_80(policy, action, preserved, victims, reusable):
    served = action == "active_served"
    assert expected_row(80, policy) == SweepRow(80, policy.value, action, served, preserved, victims, reusable)


@pytest.mark.parametrize("usable", [130, 150])
@pytest.mark.parametrize("policy", SweepPolicy)
def test_expected_from_130_on(usable, policy):
    assert expected_row(usable, policy) == SweepRow(
        usable, policy.value, "active_served", True, True, 0, policy is not NO_ADMIT
    )


@pytest.mark.parametrize(("usable", "victims"), [*zip(USABLE_BLOCKS, (50, 40, 30, 20, 10, 0, 0), strict=True)])
def test_expected_victims(usable, victims):
    assert expected_row(usable, NATIVE).resident_victims == victims
    assert expected_row(usable, HARD).resident_victims == 0


@pytest.mark.parametrize("usable", USABLE_BLOCKS)
@pytest.mark.parametrize("policy", SweepPolicy)
def test_silence_is_never_as_expected(usable, policy):
    silent = observed_row(usable, policy, Observation())
    assert silent.active_action == "active_absent"
    assert silent != expected_row(usable, policy)


@pytest.mark.parametrize("usable", USABLE_BLOCKS)
@pytest.mark.parametrize("policy", SweepPolicy)
def test_native_does_what_arithmetic_says(usable, policy, tmp_path):
    assert Suite(create, tmp_path).measure(usable, policy) == expected_row(usable, policy)
