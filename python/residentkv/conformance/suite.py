"""Runs every litmus, every control and the sweep against one runtime, and leaves each trace behind as a file."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from residentkv.conformance.finding import Finding
from residentkv.conformance.litmus import ALL
from residentkv.conformance.litmus.base import Control, Litmus, ManualClock, OtherRun, Scenario
from residentkv.conformance.observation import Observation, observe
from residentkv.conformance.sweep import (
    USABLE_BLOCKS,
    SweepPolicy,
    SweepRow,
    expected_row,
    observed_row,
    sweep_scenario,
)
from residentkv.conformance.trace import file_sha256, read_trace, write_trace
from residentkv.conformance.workload import IDENTITY
from residentkv.contract.protocol import RuntimeFactory, RuntimeOptions


class Status(str, Enum):
    """How a litmus or a control came out."""

    PASSED = "pass"
    FAILED = "fail"
    NOT_EXPOSED = "not_exposed"
    OTHER_REASON = "fail_for_another_reason"  # of a control: the finding it was made to break still holds


@dataclass(frozen=True, slots=True)
class ControlResult:
    """A control that does not fail, or fails for another reason than its own, means the litmus proves nothing."""

    name: str
    status: Status
    trace: Path


@dataclass(frozen=True, slots=True)
class LitmusResult:
    """One litmus, judged. `trace` is None if the runtime does not expose what it needs."""

    id: str
    statement: str
    status: Status
    findings: tuple[Finding, ...]
    trace: Path | None
    trace_sha256: str | None
    controls: tuple[ControlResult, ...]


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """Everything found out about one runtime."""

    litmus: tuple[LitmusResult, ...]
    sweep: tuple[SweepRow, ...]
    sweep_expected: tuple[SweepRow, ...]

    @property
    def conforms(self) -> bool:
        """Whether every litmus passes, every control fails, and the sweep is as arithmetic says."""
        return self.sweep == self.sweep_expected and all(
            result.status is Status.PASSED and all(control.status is Status.FAILED for control in result.controls)
            for result in self.litmus
        )


class Suite:
    """The suite for one runtime.

    Parameters
    ----------
    factory : makes a fresh runtime for every run.
    folder : existing directory for the traces; files of earlier runs are overwritten.
    """

    def __init__(self, factory: RuntimeFactory, folder: Path) -> None:
        self._factory = factory
        self._folder = folder

    def run(self) -> SuiteResult:
        """Run everything; about a hundred short runs."""
        cells = [(usable, policy) for policy in SweepPolicy for usable in USABLE_BLOCKS]
        return SuiteResult(
            litmus=tuple(self._litmus(test) for test in ALL),
            sweep=tuple(self._sweep_row(usable, policy) for usable, policy in cells),
            sweep_expected=tuple(expected_row(usable, policy) for usable, policy in cells),
        )

    def _litmus(self, test: Litmus) -> LitmusResult:
        path = self._play(test.scenario, test.id, test.id)
        if path is None:
            return LitmusResult(test.id, test.statement, Status.NOT_EXPOSED, (), None, None, ())
        findings = tuple(test.judge(_observed(path)))
        controls = [self._control(test, control, path) for control in test.controls]
        return LitmusResult(
            id=test.id,
            statement=test.statement,
            status=Status.PASSED if all(finding.holds for finding in findings) else Status.FAILED,
            findings=findings,
            trace=path,
            trace_sha256=file_sha256(path),
            controls=tuple(result for result in controls if result is not None),
        )

    def _control(self, test: Litmus, control: Control, honest: Path) -> ControlResult | None:
        """Judge a control; None if the runtime can not do what another run asks of it."""
        name = f"{test.id}-{re.sub('[^a-z0-9]+', '-', control.name)}"
        path: Path | None
        if isinstance(control, OtherRun):
            path = self._play(control.scenario, name, test.id)
        else:
            path = self._folder / f"{name}.jsonl"
            write_trace(path, control.tamper(_events(honest)))
        if path is None:
            return None
        return ControlResult(control.name, _status(control, test.judge(_observed(path))), path)

    def _sweep_row(self, usable_blocks: int, policy: SweepPolicy) -> SweepRow:
        path = self._play(sweep_scenario(usable_blocks, policy), f"sweep-{policy.value}-{usable_blocks}", policy.value)
        return observed_row(usable_blocks, policy, Observation() if path is None else _observed(path))

    def _play(self, scenario: Scenario, name: str, policy: str) -> Path | None:
        """Play a scenario to a fresh runtime; its trace, or None if the runtime does not expose what it needs."""
        path = self._folder / f"{name}.jsonl"
        path.unlink(missing_ok=True)
        clock = ManualClock()
        runtime = self._factory(
            RuntimeOptions(
                usable_blocks=scenario.usable_blocks,
                identity=IDENTITY,
                trace_path=path,
                run_id=name,
                policy=policy,
                clock=clock,
            )
        )
        exposed = scenario.needs <= runtime.capabilities
        if exposed:
            scenario.play(runtime, clock)
        runtime.close()
        path.touch()  # a runtime that emitted nothing is judged by its silence
        return path if exposed else None


def _observed(path: Path) -> Observation:
    return observe(read_trace(path))


def _events(path: Path) -> Sequence[dict[str, Any]]:
    """Return the lines of a trace that can be tampered with."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            events.append(event)
    return events


def _status(control: Control, findings: Sequence[Finding]) -> Status:
    failed = {finding.name for finding in findings if not finding.holds}
    if control.fails in failed:
        return Status.FAILED
    return Status.OTHER_REASON if failed else Status.PASSED
