"""One checked statement about a trace, with what was required beside what was observed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from residentkv.conformance.observation import Observation


@dataclass(frozen=True, slots=True)
class Finding:
    """`required` and `observed` are JSON values for people; `holds` is the verdict."""

    name: str
    required: Any
    observed: Any
    holds: bool


Judge = Callable[[Observation], list[Finding]]


def equals(name: str, required: object, observed: object) -> Finding:
    """Find that a fact is exactly as required."""
    return Finding(name, required, observed, required == observed)


def holds(name: str, *, when: bool) -> Finding:
    """Find that something is so."""
    return equals(name, True, when)  # noqa: FBT003 - the required value


def at_least(name: str, minimum: int, observed: int) -> Finding:
    """Find that a count reaches `minimum`."""
    return Finding(name, f">= {minimum}", observed, observed >= minimum)


def well_formed(seen: Observation) -> Finding:
    """Find that the trace contradicts neither its format nor the life cycle of its claims."""
    return equals("well_formed", [], seen.problems)
