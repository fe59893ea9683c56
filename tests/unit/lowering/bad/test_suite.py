"""Every tempting mistake gets the label and the reason that it must, and the suite can tell."""

from dataclasses import replace
from pathlib import Path

import pytest

from residentkv.lowering import relation
from residentkv.lowering.bad.case import Case, write_case
from residentkv.lowering.bad.suite import all_cases, check_file, run_case
from residentkv.lowering.relation import Mechanism
from residentkv.lowering.vocabulary import Label, Mode

_CASES = all_cases()
_HONEST = [case for case in _CASES if case.name.startswith("honest")]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_a_mistake_gets_its_label_and_its_reason(case: Case):
    result = run_case(case)
    assert result.label == case.label.value
    assert result.holds, result.reason


def test_there_are_more_than_sixty_of_them_with_names_of_their_own():
    mistakes = [case for case in _CASES if case not in _HONEST]
    assert len(mistakes) >= 60
    assert len({case.name for case in _CASES}) == len(_CASES)
    assert all(case.reason for case in mistakes)


def test_no_mistake_gets_what_it_claims():
    better = [case.name for case in _CASES if case.label is Label.NATIVE]
    assert better == ["honest-native", "honest-offload"]


def test_honest_ones_get_what_they_deserve():
    assert {case.label for case in _HONEST} == {Label.NATIVE, Label.ADAPTER_POLICY, Label.APPROXIMATION}


def test_the_suite_notices_another_label_and_another_reason():
    case = _CASES[0]
    assert run_case(case).holds
    assert not run_case(replace(case, label=Label.NATIVE)).holds
    assert not run_case(replace(case, reason="because it rained")).holds


def test_a_checker_that_takes_priority_for_protection_fails_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    useful = {
        **relation.USEFUL,
        Mode.HARD_PROTECTED: relation.USEFUL[Mode.HARD_PROTECTED] | {Mechanism.RETENTION_PRIORITY},
    }
    monkeypatch.setattr(relation, "USEFUL", useful)
    name = "priority-admitted-to-lack-it-is-still-no-part-of-a-hard-claim"
    case = next(case for case in _CASES if case.name == name)
    assert check_file(write_case(case, tmp_path)).label is Label.APPROXIMATION
