"""What an active request needs, step by step: its demand plan (contract.md section 5)."""

from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

from residentkv.contract.errors import ContractError


class Attention(str, Enum):
    """Which earlier KV a chunk needs on the device while it is computed."""

    FULL = "full_attention"  # all of it
    SLIDING_WINDOW = "sliding_window"  # the last `window_blocks`
    RECOMPUTE = "recompute_free_between_chunks"  # none that is kept: it is computed anew and freed again


@dataclass(frozen=True, slots=True)
class DemandPlan:
    """An active request as a sequence of chunks. All numbers are blocks.

    Parameters
    ----------
    chunks : newly computed in each step, > 0.
    window_blocks : what a sliding window looks back on, >= 0; None for other attention.

    Raises
    ------
    ContractError : no chunks, a chunk that is not an int > 0, or a window where none belongs or none where one does.
    """

    chunks: tuple[int, ...]
    attention: Attention = Attention.FULL
    window_blocks: int | None = None

    def __post_init__(self) -> None:
        if not self.chunks or any(type(chunk) is not int or chunk <= 0 for chunk in self.chunks):
            raise ContractError(f"chunks must be ints > 0, at least one, got {self.chunks!r}")
        has_window = type(self.window_blocks) is int and self.window_blocks >= 0
        if has_window != (self.attention is Attention.SLIDING_WINDOW) or (
            not has_window and self.window_blocks is not None
        ):
            raise ContractError(f"{self.attention.value} does not go with window_blocks={self.window_blocks!r}")

    @property
    def total_blocks(self) -> int:
        """Blocks computed in all."""
        return sum(self.chunks)

    @property
    def live_by_step(self) -> tuple[int, ...]:
        """Blocks live while each chunk is computed."""
        cumulative = tuple(accumulate(self.chunks))
        if self.attention is Attention.RECOMPUTE:
            return self.chunks
        if self.window_blocks is None:
            return cumulative
        return tuple(min(c, self.window_blocks + chunk) for c, chunk in zip(cumulative, self.chunks, strict=True))

    @property
    def peak_blocks(self) -> int:
        """|A(r)|: most blocks live at once."""
        return max(self.live_by_step)

    @property
    def recomputed_blocks(self) -> int:
        """Blocks computed a second time or more: every chunk that kept nothing needs all before it again."""
        if self.attention is not Attention.RECOMPUTE:
            return 0
        return sum(accumulate(self.chunks[:-1]))

    def first_blocked_step(self, headroom_blocks: int) -> int | None:
        """Return the first step, from 1, that needs more than `headroom_blocks`; None if every step fits."""
        return next((step for step, live in enumerate(self.live_by_step, start=1) if live > headroom_blocks), None)
