"""copy_blocks, gather_blocks and scatter_blocks: every byte compared, untouched ones too."""

import pytest
import torch
from residentkv.kernels.copy_blocks import copy_blocks
from residentkv.kernels.gather_blocks import gather_blocks
from residentkv.kernels.scatter_blocks import scatter_blocks

from residentkv.contract.errors import ContractError
from tests.kernels import reference

# Smallest; not a power of two; one tile exactly (8192 bytes); one access more than a tile.
RUN_BYTES = (16, 48, 8192, 8208)
PLANES, BLOCKS, SLOTS = 3, 7, 5


def random_bytes(*shape: int, device: torch.device, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)).to(device)


def pairs_of(*pairs: tuple[int, int], device: torch.device) -> torch.Tensor:
    return torch.tensor(pairs, dtype=torch.int32, device=device).reshape(-1, 2)


@pytest.mark.parametrize("run_bytes", RUN_BYTES)
def test_copy_blocks(run_bytes: int, device: torch.device) -> None:
    found = random_bytes(PLANES, BLOCKS, run_bytes, device=device)
    wanted = found.clone()
    pairs = pairs_of((6, 0), (3, 5), (6, 1), device=device)
    copy_blocks(found, pairs)
    reference.copy_blocks(wanted, pairs)
    assert torch.equal(found, wanted)


def test_copy_blocks_of_a_storage_with_gaps(device: torch.device) -> None:
    found = random_bytes(2 * PLANES, 2 * BLOCKS, 64, device=device)
    wanted = found.clone()
    pairs = pairs_of((1, 4), device=device)
    copy_blocks(found[1::2, ::2, 16:48], pairs)
    reference.copy_blocks(wanted[1::2, ::2, 16:48], pairs)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("run_bytes", RUN_BYTES)
def test_gather_and_scatter_blocks(run_bytes: int, device: torch.device) -> None:
    blocks = random_bytes(PLANES, BLOCKS, run_bytes, device=device)
    slots = random_bytes(SLOTS, PLANES * run_bytes, device=device, seed=1)
    pairs = pairs_of((6, 2), (0, 4), (3, 0), device=device)
    wanted_blocks, wanted_slots = blocks.clone(), slots.clone()
    gather_blocks(blocks, slots, pairs)
    reference.gather_blocks(wanted_blocks, wanted_slots, pairs)
    assert torch.equal(slots, wanted_slots)
    assert torch.equal(blocks, wanted_blocks)

    back = pairs_of((1, 4), (5, 1), device=device)
    scatter_blocks(blocks, slots, back)
    reference.scatter_blocks(wanted_blocks, wanted_slots, back)
    assert torch.equal(blocks, wanted_blocks)
    assert torch.equal(slots, wanted_slots)
    assert torch.equal(blocks[:, 1], blocks[:, 0])  # the content came back whole, in another block


def test_nothing_to_move_changes_nothing(device: torch.device) -> None:
    blocks, slots = random_bytes(1, 2, 16, device=device), random_bytes(2, 16, device=device, seed=1)
    before = blocks.clone(), slots.clone()
    none = pairs_of(device=device)
    copy_blocks(blocks, none)
    gather_blocks(blocks, slots, none)
    scatter_blocks(blocks, slots, none)
    assert torch.equal(blocks, before[0])
    assert torch.equal(slots, before[1])


BLOCK_FAULTS = [
    (lambda blocks: blocks[0], r"got \[4, 64\]"),
    (lambda blocks: blocks.view(torch.int32), "torch.int32"),
    (lambda blocks: blocks[..., :40], "run_bytes=40"),
    (lambda blocks: blocks[..., 8:24], "address="),
    (lambda blocks: blocks[..., ::2], "stride 2"),
    (lambda blocks: blocks.flatten()[:144].view(1, 2, 72)[..., :64], "stride 1=72"),
]
PAIR_FAULTS = [
    (lambda pairs: pairs.long(), "torch.int64"),
    (lambda pairs: pairs[0], r"got \[2\]"),
    (lambda pairs: pairs.to("meta"), "lives on meta"),
    (lambda pairs: pairs.T.contiguous().T, "contiguous"),
]


@pytest.mark.parametrize(("spoil", "message"), BLOCK_FAULTS)
def test_blocks_that_kernels_can_not_move_are_refused(spoil, message: str, device: torch.device) -> None:
    blocks, slots = random_bytes(3, 4, 64, device=device), random_bytes(2, 192, device=device)
    pairs = pairs_of((0, 1), device=device)
    with pytest.raises(ContractError, match=message):
        copy_blocks(spoil(blocks), pairs)
    for move in (gather_blocks, scatter_blocks):
        with pytest.raises(ContractError, match=f"{message}|does not hold"):
            move(spoil(blocks), slots, pairs)


@pytest.mark.parametrize(("spoil", "message"), PAIR_FAULTS)
def test_pairs_of_another_kind_are_refused(spoil, message: str, device: torch.device) -> None:
    blocks, slots = random_bytes(3, 4, 64, device=device), random_bytes(2, 192, device=device)
    pairs = spoil(pairs_of((0, 1), (2, 0), device=device))
    for call in (
        lambda: copy_blocks(blocks, pairs),
        lambda: gather_blocks(blocks, slots, pairs),
        lambda: scatter_blocks(blocks, slots, pairs),
    ):
        with pytest.raises(ContractError, match=message):
            call()


@pytest.mark.parametrize("move", [gather_blocks, scatter_blocks])
def test_slots_of_another_size_are_refused(move, device: torch.device) -> None:
    blocks, pairs = random_bytes(3, 4, 64, device=device), pairs_of((0, 1), device=device)
    with pytest.raises(ContractError, match="a slot of 176 bytes does not hold 3 planes of 64 bytes"):
        move(blocks, random_bytes(2, 176, device=device), pairs)
    with pytest.raises(ContractError, match="lives on meta"):
        move(blocks, random_bytes(2, 192, device=device).to("meta"), pairs)
    with pytest.raises(ContractError, match="stride 0=200"):
        move(blocks, random_bytes(2, 200, device=device)[:, :192], pairs)
