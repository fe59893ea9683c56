"""A suite's result as JSON, and as a table for people."""

from collections.abc import Iterator
from typing import Any, Final

from residentkv.conformance.suite import LitmusResult, Status, SuiteResult


def as_json(result: SuiteResult) -> dict[str, Any]:
    """The result as JSON values."""
    return {
        "results": [_litmus_json(test) for test in result.litmus],
        "sweep": [row.as_fields() for row in result.sweep],
    }


def as_text(result: SuiteResult) -> str:
    """The result as a table, with every finding that does not hold below its litmus."""
    return "\n".join([*_litmus_lines(result), "", *_sweep_lines(result), "", _verdict(result)])


def _litmus_json(test: LitmusResult) -> dict[str, Any]:
    return {
        "id": test.id,
        "status": test.status.value,
        "required": {finding.name: finding.required for finding in test.findings},
        "observed": {finding.name: finding.observed for finding in test.findings},
        "trace": None if test.trace is None else str(test.trace),
        "trace_sha256": test.trace_sha256,
        "controls": [
            {"name": control.name, "expected": Status.FAILED.value, "status": control.status.value}
            for control in test.controls
        ],
    }


def _litmus_lines(result: SuiteResult) -> Iterator[str]:
    for test in result.litmus:
        failing = sum(control.status is Status.FAILED for control in test.controls)
        yield f"{test.id}  {test.status.value:<11}  controls failing {failing}/{len(test.controls)}  {test.statement}"
        for finding in test.findings:
            if not finding.holds:
                yield f"      {finding.name}: required {finding.required}, observed {finding.observed}"
        if test.stopped is not None:
            yield f"      the runtime stopped the scenario: {test.stopped}"
        for control in test.controls:
            if control.status is not Status.FAILED:
                yield f"      control {control.name!r}: {control.status.value}"


_YES: Final = {True: "yes", False: "no"}
_COLUMNS: Final = "{:<22} {:>6}  {:<15} {:<18} {:>16} {:<15}"


def _sweep_lines(result: SuiteResult) -> Iterator[str]:
    yield _COLUMNS.format("policy", "usable", "active", "resident preserved", "resident victims", "active reusable")
    for row, expected in zip(result.sweep, result.sweep_expected, strict=True):
        line = _COLUMNS.format(
            row.policy,
            row.usable,
            row.active_action.removeprefix("active_"),
            _YES[row.resident_preserved],
            row.resident_victims,
            _YES[row.active_reusable],
        )
        yield line.rstrip() if row == expected else f"{line}  expected {expected}"


def _verdict(result: SuiteResult) -> str:
    return "conforms" if result.conforms else "does not conform"
