"""Copies between paged storage and tiers: 2 MiB a block, 32 layers of 64 KiB runs, blocks and slots in random order.

Each race does the same bytes in two ways, one after the other: ours, and a ceiling (`bench/ratios.py`). Ours takes the
checksums in the same pass, as every copy of the product does; the ceilings take none.
"""

import ctypes
import itertools
import mmap
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench.workloads.base import Facts, WorkNotDoneError, expect
from residentkv._core import CopyEngine, HostArena, fake_backend, host_backend
from residentkv.runtime.disk_tier import DiskTier, Loaded, StoredBlock

NUM_LAYERS, RUN_BYTES = 32, 64 << 10
BLOCK_BYTES = NUM_LAYERS * RUN_BYTES
NUM_BLOCKS = 32  # copied at once, of twice as many
WAIT_S = 60.0


class Storage:
    """Device memory in main memory `[layer, block, bytes]`, an arena of slots, and an engine between them."""

    def __init__(self, num_threads: int) -> None:
        self.memory = np.random.default_rng(0).integers(0, 256, (NUM_LAYERS, 2 * NUM_BLOCKS, RUN_BYTES), np.uint8)
        self.arena = HostArena(num_bytes=NUM_BLOCKS * BLOCK_BYTES)
        self.slots = np.frombuffer(self.arena, np.uint8).reshape(NUM_BLOCKS, NUM_LAYERS, RUN_BYTES)
        self.slots[:] = 1
        order = np.random.default_rng(1)
        self.block_ids = order.permutation(2 * NUM_BLOCKS)[:NUM_BLOCKS].astype(np.int32)
        self.slot_ids = order.permutation(NUM_BLOCKS).astype(np.int32)
        address = self.memory.__array_interface__["data"][0]
        stride = self.memory.strides[0]
        self.engine = CopyEngine(
            planes=[(address + layer * stride, RUN_BYTES, RUN_BYTES, layer) for layer in range(NUM_LAYERS)],
            num_blocks=2 * NUM_BLOCKS,
            arena=self.arena,
            backend=host_backend(num_threads=num_threads),
            max_tickets=2,
        )
        self.checksums = np.empty(0, np.uint64)
        self.threads = ThreadPoolExecutor(num_threads)
        self.num_threads = num_threads

    def finish(self, ticket: int | None) -> None:
        """Wait for a copy and keep the checksums of an offload."""
        assert ticket is not None
        self.engine.wait(ticket, WAIT_S)
        [result] = self.engine.poll()
        expect("copy", result.state, "done")
        if not result.is_restore:
            self.checksums = result.checksums

    def share(self, work: Callable[[range], None]) -> None:
        """Do a range of blocks in each thread."""
        each = NUM_BLOCKS // self.num_threads
        list(self.threads.map(work, [range(i * each, (i + 1) * each) for i in range(self.num_threads)]))

    def is_copied(self) -> bool:
        """Whether blocks and slots hold the same bytes."""
        return np.array_equal(self.slots[self.slot_ids].swapaxes(0, 1), self.memory[:, self.block_ids])


class _Copy:
    def __init__(self, num_threads: int) -> None:
        self.storage = Storage(num_threads)
        self.pairs = list(zip(self.storage.block_ids.tolist(), self.storage.slot_ids.tolist(), strict=True))
        self.storage.finish(self.storage.engine.offload(self.storage.block_ids, self.storage.slot_ids))
        self.plain = np.ones((2, NUM_BLOCKS * BLOCK_BYTES), np.uint8)

    def verify(self) -> Facts:
        """Both sides hold the same bytes."""
        if not self.storage.is_copied():
            raise WorkNotDoneError("slots and blocks differ")
        return {}

    def memcpy(self) -> None:
        """The same bytes, in one piece for each thread."""
        each = BLOCK_BYTES
        target, source = (self.plain[i].__array_interface__["data"][0] for i in range(2))
        self.storage.share(
            lambda part: _memcpy(target + part.start * each, source + part.start * each, len(part) * each)
        )


class GatherAgainstMemcpy(_Copy):
    """Offload, against memcpy of as many bytes with as many threads."""

    def ours(self) -> None:
        """Offload all blocks."""
        self.storage.finish(self.storage.engine.offload(self.storage.block_ids, self.storage.slot_ids))

    def ceiling(self) -> None:
        """See `memcpy`."""
        self.memcpy()


class GatherAgainstLoop(GatherAgainstMemcpy):
    """Offload, against a plain loop over the same runs (numpy: one memcpy a run, one call a block)."""

    def ceiling(self) -> None:
        """Copy block by block."""
        storage = self.storage

        def part(blocks: range) -> None:
            for block, slot in self.pairs[blocks.start : blocks.stop]:
                np.copyto(storage.slots[slot], storage.memory[:, block])

        storage.share(part)


class ScatterAgainstMemcpy(_Copy):
    """Restore with verification, against memcpy of as many bytes with as many threads."""

    def ours(self) -> None:
        """Restore all blocks."""
        storage = self.storage
        storage.finish(storage.engine.restore(storage.block_ids, storage.slot_ids, storage.checksums))

    def ceiling(self) -> None:
        """See `memcpy`."""
        self.memcpy()


class ScatterAgainstLoop(ScatterAgainstMemcpy):
    """Restore with verification, against a plain loop over the same runs."""

    def ceiling(self) -> None:
        """Copy block by block."""
        storage = self.storage

        def part(blocks: range) -> None:
            for block, slot in self.pairs[blocks.start : blocks.stop]:
                np.copyto(storage.memory[:, block], storage.slots[slot])

        storage.share(part)


class _Disk:
    def __init__(self) -> None:
        self.num_blocks = 2 * NUM_BLOCKS
        self.folder = tempfile.TemporaryDirectory(prefix="residentkv-bench-", dir=Path.cwd())
        folder = Path(self.folder.name)
        self.memory = mmap.mmap(-1, self.num_blocks * BLOCK_BYTES)
        self.views = [memoryview(self.memory)[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES] for i in range(self.num_blocks)]
        np.frombuffer(self.memory, np.uint8)[:] = np.random.default_rng(2).integers(0, 256, len(self.memory), np.uint8)
        self.tier = DiskTier(folder / "tier", slot_bytes=BLOCK_BYTES, num_slots=self.num_blocks, namespace=b"bench")
        flags = os.O_RDWR | os.O_CREAT | (os.O_DIRECT if self.tier.is_direct else 0)
        self.file = os.open(folder / "plain", flags, 0o600)
        os.posix_fallocate(self.file, 0, len(self.memory))
        self.numbers = itertools.count()
        self.stored: list[StoredBlock] = []
        self.store()
        self.write_plainly()

    def store(self) -> None:
        """Store new content in every slot."""
        self.stored = [
            StoredBlock(next(self.numbers).to_bytes(32, "little"), view, np.zeros(1, np.uint64)) for view in self.views
        ]
        expect("blocks stored", sum(self.tier.store(self.stored)), self.num_blocks)

    def write_plainly(self) -> None:
        """One write a block, and a sync at the end, as a store has."""
        for i, view in enumerate(self.views):
            os.pwrite(self.file, view, i * BLOCK_BYTES)
        os.fdatasync(self.file)

    def verify(self) -> Facts:
        """Everything stored last can be loaded."""
        loaded = self.tier.load_many([block.key for block in self.stored], self.views)
        expect("blocks loaded", sum(isinstance(each, Loaded) for each in loaded), self.num_blocks)
        self.tier.close()
        os.close(self.file)
        self.folder.cleanup()
        return {}


class DiskWrite(_Disk):
    """Store blocks durably, against a plain loop of writes and one sync."""

    def ours(self) -> None:
        """Replace the content of every slot."""
        self.store()

    def ceiling(self) -> None:
        """See `write_plainly`."""
        self.write_plainly()


class DiskRead(_Disk):
    """Load and verify blocks, against a plain loop of reads."""

    def ours(self) -> None:
        """Load every block."""
        self.tier.load_many([block.key for block in self.stored], self.views)

    def ceiling(self) -> None:
        """Read every block."""
        for i, view in enumerate(self.views):
            os.preadv(self.file, [view], i * BLOCK_BYTES)


class PlanAndSubmit:
    """Planning and submitting one copy of 32 blocks behind others; the copy itself does not begin."""

    units = NUM_BLOCKS

    def __init__(self) -> None:
        self._engine = CopyEngine(
            planes=[(1 << 30, RUN_BYTES, RUN_BYTES, layer) for layer in range(NUM_LAYERS)],  # never touched
            num_blocks=2 * NUM_BLOCKS,
            arena=HostArena(num_bytes=NUM_BLOCKS * BLOCK_BYTES),
            backend=fake_backend(seed=1, stall_permille=1000),
            max_tickets=8,
        )
        self._ids = np.arange(NUM_BLOCKS, dtype=np.int32)
        for _ in range(4):
            self._engine.offload(self._ids, self._ids)
        self._ticket: int | None = None
        self._num_ended = 0

    def prepare(self) -> None:
        """Take the previous one back."""
        if self._ticket is not None:
            self._engine.cancel(self._ticket)
            self._num_ended += len(self._engine.poll())

    def run(self) -> None:
        """Plan and submit."""
        self._ticket = self._engine.offload(self._ids, self._ids)

    def verify(self) -> Facts:
        """Every submission was taken."""
        if self._num_ended == 0 or self._ticket is None:
            raise WorkNotDoneError("copies submitted: none")
        expect("tickets", self._ticket, self._num_ended + 4)
        self._engine.close()
        return {}


_memcpy = ctypes.CDLL(None).memcpy
_memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
