"""Copy whole blocks inside one storage, in every plane: copy-on-write when a fork first writes into a shared block."""

from typing import Final

import torch
import triton
import triton.language as tl

from residentkv.kernels.checks import check_pairs, check_tensor, words_of_runs

# int32 words per program: 16 bytes for each of 128 threads, four times over to keep loads in flight.
TILE_WORDS: Final = 2048


@triton.jit
def copy_blocks_kernel(
    blocks_ptr,  # [num_planes, num_blocks, run_words] int32, 16-byte aligned
    pairs_ptr,  # [num_pairs, 2] int32, (source block, target block)
    plane_stride,  # words between planes, multiple of 4
    block_stride,  # words between blocks, multiple of 4
    run_words,  # words of one block in one plane, multiple of 4
    TILE: tl.constexpr,  # words per program, power of two
):
    """Grid (num_pairs, num_planes, cdiv(run_words, TILE)). Reference: tests/kernels/reference.py::copy_blocks."""
    pair, plane, tile = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    # int64: block times stride passes 2 GiB in any real storage.
    source = tl.load(pairs_ptr + 2 * pair).to(tl.int64)
    target = tl.load(pairs_ptr + 2 * pair + 1).to(tl.int64)
    words = tile * TILE + tl.arange(0, TILE)
    inside = words < run_words
    plane_ptr = blocks_ptr + plane.to(tl.int64) * plane_stride
    content = tl.load(plane_ptr + source * block_stride + words, mask=inside)
    tl.store(plane_ptr + target * block_stride + words, content, mask=inside)


def copy_blocks(blocks: torch.Tensor, pairs: torch.Tensor) -> None:
    """Copy blocks in every plane, bit for bit, with 128-bit accesses. O(num_pairs * num_planes * run_bytes).

    Parameters
    ----------
    blocks : `[num_planes, num_blocks, run_bytes]` uint8, a view of the storage; runs contiguous, address, strides and
        run_bytes multiples of 16 bytes.
    pairs : `[num_pairs, 2]` int32 on the same device: (source block, target block). REQUIRES: every block in
        [0, num_blocks); no block is named as a target twice, and none is both a source and a target, because programs
        run
        in any order.

    Raises
    ------
    ContractError : a shape, stride, dtype, device or alignment differs. Nothing was launched.
    """
    check_tensor("blocks", blocks, shape=(None, None, None), dtypes=(torch.uint8,), device=blocks.device)
    check_pairs(pairs, blocks.device)
    words = words_of_runs("blocks", blocks)
    if pairs.shape[0] == 0 or words.numel() == 0:
        return
    num_planes, _, run_words = words.shape
    grid = (pairs.shape[0], num_planes, triton.cdiv(run_words, TILE_WORDS))
    copy_blocks_kernel[grid](
        words, pairs, words.stride(0), words.stride(1), run_words, TILE=TILE_WORDS, enable_fp_fusion=False
    )
