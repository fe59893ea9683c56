"""What a label rests on, case by case; the bad-lowering suite has the mistakes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from residentkv.lowering.bad import trace_cases
from residentkv.lowering.bad.case import Case, write_case
from residentkv.lowering.bad.suite import check_file
from residentkv.lowering.checker import Met, check_row
from residentkv.lowering.reading import read_descriptor
from residentkv.lowering.vocabulary import BUNDLES, Depth, Label, Mode, Obligation, Role


def case(name: str) -> Case:
    return next(case for case in trace_cases.cases() if case.name == name)


def test_a_native_row_meets_everything_natively(tmp_path: Path):
    verdict = check_file(write_case(case("honest-native"), tmp_path))
    assert verdict.label is Label.NATIVE
    assert verdict.reasons == ()
    assert list(verdict.obligations) == list(BUNDLES[Mode.HARD_PROTECTED])
    assert set(verdict.obligations.values()) == {Met(Depth.NATIVE, Role.ENFORCES)}
    assert not verdict.is_overstated


def test_a_row_is_as_deep_as_its_shallowest_obligation(tmp_path: Path):
    verdict = check_file(write_case(case("depth-raised-by-composition"), tmp_path))
    depths = [state.depth for state in verdict.obligations.values() if isinstance(state, Met)]
    assert depths.count(Depth.ADAPTER) == 1
    assert verdict.label is Label.ADAPTER_POLICY
    assert verdict.is_overstated


def test_unmet_obligations_are_named_with_their_reason(written: Callable[..., Path]):
    verdict = check_file(written())
    assert verdict.label is Label.APPROXIMATION
    assert verdict.unmet[Obligation.VICTIM_EXCLUSION] == "lacking: as the anchor shows"
    assert verdict.unmet[Obligation.ACCEPTED_CLAIM_IDENTITY] == "no evidence"
    assert len(verdict.unmet) == len(BUNDLES[Mode.HARD_PROTECTED])


@pytest.mark.parametrize(
    ("declared", "overstated"),
    [("native", True), ("adapter_policy", True), ("approximation", False), ("rejected", False), ("unknown", False)],
)
def test_a_declared_label_may_be_worse_and_not_better(written: Callable[..., Path], declared: str, overstated: bool):
    assert check_file(written(declared=declared)).is_overstated is overstated


def test_a_row_without_evidence_is_unknown_with_its_reason(written: Callable[..., Path]):
    path = written()
    head, row = path.read_text(encoding="utf-8").split("[[row.evidence]]")
    del row
    path.write_text(head + 'unavailable = "it is compiled"\n', encoding="utf-8")
    verdict = check_file(path)
    assert verdict.label is Label.UNKNOWN
    assert verdict.reasons == ("it is compiled",)
    assert set(verdict.unmet.values()) == {"no evidence"}


def test_one_row_can_be_checked_alone(written: Callable[..., Path]):
    descriptor = read_descriptor(written())
    verdict = check_row(descriptor.rows[0], descriptor, {}, {})
    assert verdict.label is Label.UNKNOWN
    assert "is not installed here" in verdict.reasons[1]


def test_the_order_of_evidence_does_not_matter(tmp_path: Path):
    honest = case("honest-adapter")
    turned = {**honest.row, "evidence": list(reversed(honest.row["evidence"]))}
    first = check_file(write_case(honest, tmp_path))
    second = check_file(write_case(Case("turned", honest.label, "", turned, honest.traces), tmp_path))
    assert first.label is second.label
    assert first.obligations == second.obligations
