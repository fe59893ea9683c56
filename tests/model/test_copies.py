"""Copies of random layouts and pairs: every byte of every pair arrives, no other byte of either side changes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from residentkv._core import Backend, CopyEngine, CopyResult, HostArena, fake_backend, host_backend

NUM_BLOCKS = 5
GUARD_BYTES = 64


@st.composite
def shapes(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Planes as (run bytes, gap bytes, layer); one or two planes a layer."""
    layers = range(draw(st.integers(1, 3)))
    plane = st.tuples(st.integers(1, 200), st.sampled_from([0, 0, 3, 64]))
    return [(*draw(plane), layer) for layer in layers for _ in range(draw(st.integers(1, 2)))]


backends = st.one_of(
    st.builds(lambda n: lambda: host_backend(num_threads=n), st.integers(1, 3)),
    st.builds(lambda seed: lambda: fake_backend(seed=seed, max_pieces_per_poll=3), st.integers(0, 100)),
)


class Copies:
    """Device memory of a shape, an arena, and the engine between them."""

    def __init__(self, planes: list[tuple[int, int, int]], num_slots: int, backend: Backend, offset: int) -> None:
        self.planes = planes
        num_bytes = offset + GUARD_BYTES + sum((run + gap) * NUM_BLOCKS + GUARD_BYTES for run, gap, _ in planes)
        self.memory = np.random.default_rng(1).integers(0, 256, num_bytes, np.uint8)
        self.block_bytes = sum(run for run, _, _ in planes)
        self.arena = HostArena(num_bytes=self.block_bytes * num_slots)
        self.slots = np.frombuffer(self.arena, np.uint8)
        self.slots[:] = np.random.default_rng(2).integers(0, 256, self.slots.size, np.uint8)
        self.starts = []
        start = offset + GUARD_BYTES
        for run, gap, _ in planes:
            self.starts.append(start)
            start += (run + gap) * NUM_BLOCKS + GUARD_BYTES
        address = self.memory.__array_interface__["data"][0]
        self.engine = CopyEngine(
            planes=[(address + at, run + gap, run, layer) for at, (run, gap, layer) in self.placed()],
            num_blocks=NUM_BLOCKS,
            arena=self.arena,
            backend=backend,
            max_tickets=2,
        )

    def placed(self) -> list[tuple[int, tuple[int, int, int]]]:
        return list(zip(self.starts, self.planes, strict=True))

    def of_block(self, block: int) -> NDArray[np.intp]:
        """Indices into `memory` of a block's bytes, in the order of a slot."""
        return np.concatenate([at + block * (run + gap) + np.arange(run) for at, (run, gap, _) in self.placed()])

    def of_slot(self, slot: int) -> NDArray[np.intp]:
        return slot * self.block_bytes + np.arange(self.block_bytes)

    def result(self, ticket: int | None) -> CopyResult:
        assert ticket is not None
        assert self.engine.wait(ticket, 60)
        [result] = self.engine.poll()
        return result


@settings(max_examples=120)
@given(
    shapes(),
    st.permutations(range(NUM_BLOCKS)),
    st.permutations(range(7)),
    st.integers(1, NUM_BLOCKS),
    backends,
    st.integers(0, 33),
)
def test_out_and_back(planes, blocks, slots, num_pairs, backend, offset):
    copies = Copies(planes, len(slots), backend(), offset)
    out_blocks, used_slots = np.array(blocks[:num_pairs], np.int32), np.array(slots[:num_pairs], np.int32)
    memory, expected = copies.memory.copy(), copies.slots.copy()
    for block, slot in zip(out_blocks, used_slots, strict=True):
        expected[copies.of_slot(slot)] = memory[copies.of_block(block)]
    out = copies.result(copies.engine.offload(out_blocks, used_slots))
    assert out.state == "done"
    assert np.array_equal(copies.slots, expected)
    assert np.array_equal(copies.memory, memory)

    back_blocks = np.roll(out_blocks, 1)
    for block, slot in zip(back_blocks, used_slots, strict=True):
        memory[copies.of_block(block)] = expected[copies.of_slot(slot)]
    back = copies.result(copies.engine.restore(back_blocks, used_slots, out.checksums))
    assert back.state == "done"
    assert np.array_equal(copies.memory, memory)
    assert np.array_equal(copies.slots, expected)
    copies.engine.close()


@settings(max_examples=80)
@given(shapes(), st.integers(0, 10**6), st.integers(0, 7), backends)
def test_any_changed_bit_fails_exactly_its_pair(planes, at, bit, backend):
    copies = Copies(planes, 3, backend(), 0)
    numbers = np.arange(3, dtype=np.int32)
    out = copies.result(copies.engine.offload(numbers, numbers))
    at %= copies.slots.size
    copies.slots[at] ^= 1 << bit
    back = copies.result(copies.engine.restore(numbers, numbers, out.checksums))
    assert (back.state, back.error) == ("failed", "checksum")
    assert back.failed_pairs == [at // copies.block_bytes]
    copies.engine.close()
