"""Copies through the native engine: where bytes go, when a ticket is over, what a full engine answers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from residentkv._core import Backend, CopyEngine, CopyResult, HostArena, fake_backend, host_backend
from residentkv.contract.errors import ContractError

NUM_LAYERS, NUM_BLOCKS, RUN_BYTES = 4, 3, 32


def ids(*numbers: int) -> NDArray[np.int32]:
    return np.array(numbers, np.int32)


class Device:
    """`memory[layer, keys or values, block, byte]`, four slots, and an engine."""

    def __init__(self, backend: Backend, max_tickets: int = 2) -> None:
        shape = (NUM_LAYERS, 2, NUM_BLOCKS, RUN_BYTES)
        self.memory = np.random.default_rng(3).integers(1, 256, shape, np.uint8)
        self.arena = HostArena(num_bytes=4 * NUM_LAYERS * 2 * RUN_BYTES)
        self.slots = np.frombuffer(self.arena, np.uint8).reshape(4, NUM_LAYERS, 2, RUN_BYTES)
        planes = [
            (self.memory[layer, which].__array_interface__["data"][0], RUN_BYTES, RUN_BYTES, layer)
            for layer in range(NUM_LAYERS)
            for which in range(2)
        ]
        self.engine = CopyEngine(
            planes=planes, num_blocks=NUM_BLOCKS, arena=self.arena, backend=backend, max_tickets=max_tickets
        )

    def result(self) -> CopyResult:
        """Poll until something is over; no longer."""
        for _ in range(10_000):
            if results := self.engine.poll():
                return results[0]
        raise AssertionError("nothing is over")


def test_a_slot_holds_layer_by_layer_keys_before_values():
    device = Device(fake_backend(seed=1))
    device.engine.offload(ids(2, 0), ids(1, 3))
    assert device.result().state == "done"
    assert np.array_equal(device.slots[1], device.memory[:, :, 2])
    assert np.array_equal(device.slots[3], device.memory[:, :, 0])
    assert not device.slots[[0, 2]].any()


def test_a_ticket_is_over_when_all_bytes_are_there_and_not_before():
    device = Device(fake_backend(seed=2, max_pieces_per_poll=1))
    device.engine.offload(ids(1), ids(0))
    out = device.result()
    content = device.memory[:, :, 1].copy()
    assert np.array_equal(device.slots[0], content)
    device.memory[:, :, 1] = 0
    device.engine.restore(ids(1), ids(0), out.checksums)
    back = device.result()
    assert (back.state, back.is_restore) == ("done", True)
    assert np.array_equal(device.memory[:, :, 1], content)


def test_a_full_engine_answers_none_and_a_stopped_ticket_makes_room():
    device = Device(fake_backend(seed=3, stall_permille=1000), max_tickets=1)
    ticket = device.engine.offload(ids(0), ids(0))
    assert ticket is not None
    assert device.engine.offload(ids(1), ids(1)) is None
    assert device.engine.num_in_flight == device.engine.max_tickets == 1
    device.engine.time_out(ticket)
    late = device.result()
    assert (late.ticket, late.state, late.error) == (ticket, "failed", "timeout")
    assert device.engine.offload(ids(1), ids(1)) is not None


@pytest.mark.parametrize(
    ("blocks", "slots"),
    [
        (ids(), ids()),
        (ids(0), ids(0, 1)),
        (ids(-1), ids(0)),
        (ids(3), ids(0)),
        (ids(0), ids(4)),
        (ids(0, 1), ids(2, 2)),
    ],
)
def test_bad_pairs_change_nothing(blocks: NDArray[np.int32], slots: NDArray[np.int32]):
    device = Device(host_backend(num_threads=1))
    with pytest.raises(ContractError):
        device.engine.offload(blocks, slots)
    assert device.engine.num_in_flight == 0
    assert not device.slots.any()


def test_a_backend_serves_one_engine_and_an_arena_holds_a_block():
    backend = host_backend(num_threads=1)
    Device(backend)
    with pytest.raises(ContractError, match="serves another engine"):
        Device(backend)
    with pytest.raises(ContractError, match="holds no block"):
        CopyEngine(
            planes=[(1 << 20, 64, 64, 0)],
            num_blocks=1,
            arena=HostArena(num_bytes=63),
            backend=host_backend(num_threads=1),
            max_tickets=1,
        )
