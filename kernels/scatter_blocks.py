"""Unpack blocks on restore: from block-first contiguous slots into layer-first paged storage."""

import torch
import triton
import triton.language as tl

from residentkv.kernels.packing import launch_packing


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
    slots : `[num_slots, num_planes * run_bytes]` uint8 on the same device (block-first: planes in order inside a slot),
        rows contiguous.
    pairs : `[num_pairs, 2]` int32 on the same device: (block, slot). REQUIRES: every block in [0, num_blocks), every
        slot in [0, num_slots), and no block twice.

    Addresses, strides and run_bytes are multiples of 16 bytes: every access moves 128 bits.

    Raises
    ------
    ContractError : a shape, stride, dtype, device or alignment differs. Nothing was launched.
    """
    launch_packing(scatter_blocks_kernel, blocks, slots, pairs)
