"""Unpack blocks on restore: from block-first contiguous slots into layer-first paged storage."""

from typing import Final

import torch
import triton
import triton.language as tl

from residentkv.contract.errors import ContractError
from residentkv.kernels.checks import check_pairs, check_tensor, words_of_runs

# int32 words per program: 16 bytes for each of 128 threads, four times over to keep loads in flight.
TILE_WORDS: Final = 2048


@triton.jit
def scatter_blocks_kernel(
    blocks_ptr,  # [num_planes, num_blocks, run_words] int32, 16-byte aligned
    slots_ptr,  # [num_slots, num_planes * run_words] int32, 16-byte aligned, does not overlap blocks
    pairs_ptr,  # [num_pairs, 2] int32, (block, slot)
    plane_stride,  # words between planes, multiple of 4
    block_stride,  # words between blocks, multiple of 4
    slot_stride,  # words between slots, multiple of 4
    run_words,  # words of one block in one plane, multiple of 4
    TILE: tl.constexpr,  # words per program, power of two
):
    """Grid (num_pairs, num_planes, cdiv(run_words, TILE)). Reference: tests/kernels/reference.py::scatter_blocks."""
    pair, plane, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    # int64: block times stride passes 2 GiB in any real storage.
    block = tl.load(pairs_ptr + 2 * pair).to(tl.int64)
    slot = tl.load(pairs_ptr + 2 * pair + 1).to(tl.int64)
    words = tile * TILE + tl.arange(0, TILE)
    inside = words < run_words
    in_block = blocks_ptr + plane.to(tl.int64) * plane_stride + block * block_stride + words
    in_slot = slots_ptr + slot * slot_stride + plane.to(tl.int64) * run_words + words
    tl.store(in_block, tl.load(in_slot, mask=inside), mask=inside)


def scatter_blocks(blocks: torch.Tensor, slots: torch.Tensor, pairs: torch.Tensor) -> None:
    """Copy each named slot, plane after plane, into its block, bit for bit. O(num_pairs * num_planes * run_bytes).

    Parameters
    ----------
    blocks : `[num_planes, num_blocks, run_bytes]` uint8, a view of the storage (layer-first); runs contiguous.
    slots : `[num_slots, num_planes * run_bytes]` uint8 (block-first: planes in order inside a slot), rows contiguous,
        on
        the same device.
    pairs : `[num_pairs, 2]` int32 on the same device: (block, slot). REQUIRES: every block in [0, num_blocks), every
        slot
        in [0, num_slots), and no block twice.

    Addresses, strides and run_bytes are multiples of 16 bytes: every access moves 128 bits.

    Raises
    ------
    ContractError : a shape, stride, dtype, device or alignment differs. Nothing was launched.
    """
    check_tensor("blocks", blocks, shape=(None, None, None), dtypes=(torch.uint8,), device=blocks.device)
    check_tensor("slots", slots, shape=(None, None), dtypes=(torch.uint8,), device=blocks.device)
    if slots.shape[1] != blocks.shape[0] * blocks.shape[2]:
        raise ContractError(
            f"a slot of {slots.shape[1]} bytes does not hold {blocks.shape[0]} planes of {blocks.shape[2]} bytes"
        )
    check_pairs(pairs, blocks.device)
    words, slot_words = words_of_runs("blocks", blocks), words_of_runs("slots", slots)
    if pairs.shape[0] == 0 or words.numel() == 0:
        return
    num_planes, _, run_words = words.shape
    grid = (pairs.shape[0], num_planes, triton.cdiv(run_words, TILE_WORDS))
    scatter_blocks_kernel[grid](
        words,
        slot_words,
        pairs,
        words.stride(0),
        words.stride(1),
        slot_words.stride(0),
        run_words,
        TILE=TILE_WORDS,
        enable_fp_fusion=False,
    )
