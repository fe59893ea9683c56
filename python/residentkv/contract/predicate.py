"""When a claim counts as materialized: a predicate over the logical positions whose blocks survive."""

import re
from collections.abc import Container
from dataclasses import dataclass

from residentkv.contract.errors import ContractError


@dataclass(frozen=True, slots=True)
class LeadingPrefix:
    """True while positions [0, num_blocks) all survive. A lost leading block outweighs all survivors behind it."""

    num_blocks: int

    def __post_init__(self) -> None:
        _require_count("num_blocks", self.num_blocks, minimum=1)

    @property
    def start(self) -> int:
        """First tested position."""
        return 0

    @property
    def predicate_blocks(self) -> int:
        """Blocks a footprint needs: one past the last tested position."""
        return self.num_blocks

    def holds(self, surviving: Container[int]) -> bool:
        """Whether every tested position survives. O(num_blocks)."""
        return all(position in surviving for position in range(self.start, self.predicate_blocks))

    def __str__(self) -> str:
        return f"leading_prefix_at_least({self.num_blocks})"


@dataclass(frozen=True, slots=True)
class ContiguousRange:
    """True while positions [start, start + num_blocks) all survive. It protects [0, start + num_blocks)."""

    start: int
    num_blocks: int

    def __post_init__(self) -> None:
        _require_count("start", self.start, minimum=0)
        _require_count("num_blocks", self.num_blocks, minimum=1)

    @property
    def predicate_blocks(self) -> int:
        """Blocks a footprint needs: one past the last tested position."""
        return self.start + self.num_blocks

    def holds(self, surviving: Container[int]) -> bool:
        """Whether every tested position survives. O(num_blocks)."""
        return all(position in surviving for position in range(self.start, self.predicate_blocks))

    def __str__(self) -> str:
        return f"contiguous_range({self.start},{self.num_blocks})"


Predicate = LeadingPrefix | ContiguousRange

_LEADING = re.compile(r"leading_prefix_at_least\((\d+)\)")
_RANGE = re.compile(r"contiguous_range\((\d+), ?(\d+)\)")


def parse_predicate(text: str) -> Predicate:
    """Read the predicate that `str()` wrote.

    Raises
    ------
    ContractError : any other text, or counts out of range.
    """
    if match := _LEADING.fullmatch(text):
        return LeadingPrefix(int(match[1]))
    if match := _RANGE.fullmatch(text):
        return ContiguousRange(int(match[1]), int(match[2]))
    raise ContractError(f"not a materialization predicate: {text!r}")


def _require_count(name: str, value: object, *, minimum: int) -> None:
    if type(value) is not int or value < minimum:
        raise ContractError(f"{name} must be an int >= {minimum}, got {value!r}")
