"""What a litmus consists of: a scenario to play, a judge of the trace it leaves, and controls the judge must fail."""

from collections.abc import Callable
from dataclasses import dataclass

from residentkv.conformance.finding import Judge
from residentkv.conformance.tamper import Tamper
from residentkv.conformance.workload import USABLE_BLOCKS
from residentkv.contract.protocol import Capability, ConformanceRuntime


class ManualClock:
    """Nanoseconds that pass only when told to."""

    def __init__(self) -> None:
        self._now_ns = 0

    def __call__(self) -> int:
        """Return the time."""
        return self._now_ns

    def advance(self, nanoseconds: int) -> None:
        """Let time pass."""
        self._now_ns += nanoseconds


Play = Callable[[ConformanceRuntime, ManualClock], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run: what to do with a fresh runtime of `usable_blocks`, and the capabilities that takes."""

    play: Play
    needs: frozenset[Capability]
    usable_blocks: int = USABLE_BLOCKS


@dataclass(frozen=True, slots=True)
class TamperedTrace:
    """A control: the litmus's own trace with a lie in it."""

    name: str
    fails: str  # the finding that must not hold
    tamper: Tamper


@dataclass(frozen=True, slots=True)
class OtherRun:
    """A control: the same runtime, driven so that it can not keep what the litmus states."""

    name: str
    fails: str
    scenario: Scenario


Control = TamperedTrace | OtherRun


@dataclass(frozen=True, slots=True)
class Litmus:
    """A statement of contract.md section 7 that a trace can prove or refute."""

    id: str
    statement: str
    scenario: Scenario
    judge: Judge
    controls: tuple[Control, ...]
