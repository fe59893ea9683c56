"""What a case measures: something prepared, run once under the clock, and checked to have done its work."""

from collections.abc import Mapping
from typing import Protocol

Facts = Mapping[str, float]


class Workload(Protocol):
    """One case at one size. `prepare` and `run` alternate; only `run` is timed."""

    units: int  # operations in one run; times are divided by it

    def prepare(self) -> None:
        """Do everything that is not measured, for one run."""

    def run(self) -> None:
        """Do what is measured."""

    def verify(self) -> Facts:
        """Prove from the manager's own counters that every run did its work, and return what is worth reporting.

        Raises
        ------
        WorkNotDoneError : a counter disagrees with the number of runs.
        """


class WorkNotDoneError(AssertionError):
    """A benchmark measured something else than it says."""


def expect(what: str, observed: object, expected: object) -> None:
    """Compare a counter with what the runs should have made of it.

    Raises
    ------
    WorkNotDoneError : they differ.
    """
    if observed != expected:
        raise WorkNotDoneError(f"{what}: {observed}, expected {expected}")
