"""Runs every litmus, every control and the sweep against one runtime, and leaves each trace behind as a file."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

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
from residentkv.contract.arbiter import PRESERVE_CLAIMS
from residentkv.contract.errors import ResidentKVError
from residentkv.contract.protocol import RuntimeFactory, RuntimeOptions

_NOT_IN_NAMES: Final = re.compile("[^a-z0-9]+")


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
    """One litmus, judged.

    Parameters
    ----------
    trace : None if the runtime does not expose what the litmus needs.
    stopped : the error by which the runtime ended the scenario early, for people; the verdict rests on the trace.
    """

    id: str
    statement: str
    status: Status
    findings: tuple[Finding, ...]
    trace: Path | None
    trace_sha256: str | None
    controls: tuple[ControlResult, ...]
    stopped: str | None = None


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


@dataclass(frozen=True, slots=True)
class Run:
    """What one run left behind."""

    trace: Path
    stopped: str | None


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
        """Run everything; about a hundred short traces."""
        cells = [(usable, policy) for policy in SweepPolicy for usable in USABLE_BLOCKS]
        return SuiteResult(
            litmus=tuple(self.judge(test) for test in ALL),
            sweep=tuple(self.measure(usable, policy) for usable, policy in cells),
            sweep_expected=tuple(expected_row(usable, policy) for usable, policy in cells),
        )

    def judge(self, test: Litmus) -> LitmusResult:
        """Play one litmus and its controls, and judge their traces."""
        run = self._play(test.scenario, test.id, PRESERVE_CLAIMS.name)
        if run is None:
            return LitmusResult(test.id, test.statement, Status.NOT_EXPOSED, (), None, None, ())
        findings = tuple(test.judge(_observed(run.trace)))
        controls = [self._control(test, control, run.trace) for control in test.controls]
        return LitmusResult(
            id=test.id,
            statement=test.statement,
            status=Status.PASSED if all(finding.holds for finding in findings) else Status.FAILED,
            findings=findings,
            trace=run.trace,
            trace_sha256=file_sha256(run.trace),
            controls=tuple(result for result in controls if result is not None),
            stopped=run.stopped,
        )

    def measure(self, usable_blocks: int, policy: SweepPolicy) -> SweepRow:
        """Play one cell of the sweep and read its facts."""
        run = self._play(sweep_scenario(usable_blocks, policy), f"sweep-{policy.value}-{usable_blocks}", policy.value)
        return observed_row(usable_blocks, policy, Observation() if run is None else _observed(run.trace))

    def _control(self, test: Litmus, control: Control, honest: Path) -> ControlResult | None:
        """Judge a control; None if the runtime can not do what another run asks of it."""
        name = f"{test.id}-{_NOT_IN_NAMES.sub('-', control.name)}"
        if isinstance(control, OtherRun):
            run = self._play(control.scenario, name, PRESERVE_CLAIMS.name)
            if run is None:
                return None
            path = run.trace
        else:
            path = self._folder / f"{name}.jsonl"
            write_trace(path, control.tamper(read_trace(honest).events))
        return ControlResult(control.name, _status(control, test.judge(_observed(path))), path)

    def _play(self, scenario: Scenario, name: str, policy: str) -> Run | None:
        """Play a scenario to a fresh runtime. None if the runtime does not expose what that needs."""
        path = self._folder / f"{name}.jsonl"
        path.unlink(missing_ok=True)
        clock = ManualClock()
        stopped = None
        options = RuntimeOptions(
            usable_blocks=scenario.usable_blocks,
            identity=IDENTITY,
            trace_path=path,
            run_id=name,
            policy=policy,
            clock=clock,
        )
        with closing(self._factory(options)) as runtime:
            if not scenario.needs <= runtime.capabilities:
                return None
            try:
                scenario.play(runtime, clock)
            except ResidentKVError as error:  # what it did until then is in its trace
                stopped = f"{type(error).__name__}: {error}"
        path.touch()  # a runtime that emitted nothing is judged by its silence
        return Run(path, stopped)


def _observed(path: Path) -> Observation:
    return observe(read_trace(path))


def _status(control: Control, findings: Sequence[Finding]) -> Status:
    failed = {finding.name for finding in findings if not finding.holds}
    if control.fails in failed:
        return Status.FAILED
    return Status.OTHER_REASON if failed else Status.PASSED
