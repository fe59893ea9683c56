"""Making a pool, touching all of it for the first time, and giving up what it caches."""

import resource
from pathlib import Path
from typing import TYPE_CHECKING

from bench.shapes import BLOCK_TOKENS, EVICTED_BLOCKS, REQUEST_BLOCKS
from bench.workloads.base import Facts, expect
from bench.workloads.pool import Prompts, fill, new_manager, serve

if TYPE_CHECKING:
    from residentkv import BlockManager


class CreatePool:
    """A manager over `usable_blocks` blocks, ready to admit."""

    units = 1

    def __init__(self, usable_blocks: int) -> None:
        self._usable_blocks = usable_blocks
        self._manager: BlockManager | None = None

    def prepare(self) -> None:
        """Close the previous one."""
        self._manager = None

    def run(self) -> None:
        """Create."""
        self._manager = new_manager(self._usable_blocks)

    def verify(self) -> Facts:
        """It has the blocks, and serves a request with all that a row holds."""
        assert self._manager is not None
        expect("free blocks", self._manager.pool.counts().free, self._usable_blocks)
        serve(self._manager, "first", Prompts(REQUEST_BLOCKS * BLOCK_TOKENS).next())
        expect("cached blocks", self._manager.pool.counts().cached, REQUEST_BLOCKS)
        return {}


class FirstUse:
    """Every block of a fresh pool is taken, committed and cached once, by requests of 64 blocks."""

    def __init__(self, usable_blocks: int) -> None:
        self.units = usable_blocks
        self._before_bytes = self._grown_bytes = 0

    def prepare(self) -> None:
        """A pool whose memory nobody touched yet."""
        self._manager = new_manager(self.units)
        self._before_bytes = _resident_bytes()

    def run(self) -> None:
        """Fill it."""
        fill(self._manager, REQUEST_BLOCKS)
        self._grown_bytes = max(self._grown_bytes, _resident_bytes() - self._before_bytes)

    def verify(self) -> Facts:
        """Nothing is free and nothing was evicted but what the last request did not fit into."""
        counts = self._manager.pool.counts()
        expect("free blocks", counts.free, 0)
        expect("evicted blocks", counts.num_evictions, -self.units % REQUEST_BLOCKS)
        expect("cached blocks", counts.cached, self.units)
        return {
            "metadata_bytes_per_block": counts.metadata_bytes / self.units,
            "process_growth_bytes_per_block": self._grown_bytes / self.units,
        }


class Evict:
    """One admission that takes 512 blocks from a full pool, per block. Victims are sequences of `sequence_blocks`."""

    units = EVICTED_BLOCKS

    def __init__(self, usable_blocks: int, sequence_blocks: int) -> None:
        self._sequence_blocks = sequence_blocks
        self._manager = new_manager(usable_blocks)
        fill(self._manager, sequence_blocks)
        self._prompts = Prompts(EVICTED_BLOCKS * BLOCK_TOKENS)
        self._num_runs = self._evicted_before = self._evicted_by_runs = 0

    def prepare(self) -> None:
        """Give the blocks of the last run back to sequences of the same kind, so that the pool is full again."""
        manager = self._manager
        if self._num_runs:
            self._count_last_run()
            manager.finish("evictor")
            fill(manager, self._sequence_blocks, manager.pool.counts().free)
        counts = manager.pool.counts()
        expect("free blocks", counts.free, 0)
        self._evicted_before = counts.num_evictions
        self._num_runs += 1
        self._tokens = self._prompts.next()

    def run(self) -> None:
        """Take the blocks. The request leaves nothing in the index, so they come back free."""
        self._manager.admit("evictor", self._tokens, future_reuse=False)

    def verify(self) -> Facts:
        """Every run evicted 512 blocks, one by one."""
        self._count_last_run()
        expect("evicted blocks", self._evicted_by_runs, self._num_runs * EVICTED_BLOCKS)
        counts = self._manager.pool.counts()
        self._manager.pool.check_invariants()
        return {"cached_sequences": float(counts.cached // self._sequence_blocks)}

    def _count_last_run(self) -> None:
        self._evicted_by_runs += self._manager.pool.counts().num_evictions - self._evicted_before


def _resident_bytes() -> int:
    """Physical memory of this process now (Linux; elsewhere the most there ever was)."""
    try:
        statm = Path("/proc/self/statm").read_text(encoding="ascii")
        return int(statm.split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
