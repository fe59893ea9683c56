"""Runs the bad-lowering suite: every case is written, read, checked, and compared with what it must come out as."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from residentkv.lowering.bad import anchor_cases, mapping_cases, offload_cases, trace_cases
from residentkv.lowering.bad.case import Case, source_folder, write_case
from residentkv.lowering.checker import RowVerdict, check_descriptors
from residentkv.lowering.reading import read_descriptors


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case, as it came out. `reason` is the one that was wanted, or else the first."""

    case: str
    label: str
    reason: str
    holds: bool

    def as_fields(self) -> dict[str, object]:
        """The result as JSON values."""
        return {"case": self.case, "label": self.label, "reason": self.reason, "ok": self.holds}


def all_cases() -> list[Case]:
    """Every case, honest ones among them."""
    return [*mapping_cases.cases(), *anchor_cases.cases(), *trace_cases.cases(), *offload_cases.cases()]


def run_suite() -> list[CaseResult]:
    """Check every case; a second or two."""
    return [run_case(case) for case in all_cases()]


def run_case(case: Case) -> CaseResult:
    """Check one case."""
    with tempfile.TemporaryDirectory(prefix="residentkv-bad-") as folder:
        verdict = check_file(write_case(case, Path(folder)))
    wanted = [reason for reason in verdict.reasons if case.reason in reason]
    reason = (wanted or verdict.reasons or ("",))[0]
    holds = verdict.label is case.label and bool(wanted or not case.reason)
    return CaseResult(case.name, verdict.label.value, reason, holds)


def check_file(descriptor: Path) -> RowVerdict:
    """Check the one row of a descriptor about the tempting runtime."""
    (verdict,) = check_descriptors(read_descriptors([descriptor]), {"tempting": source_folder()}, {})
    return verdict.rows[0]
