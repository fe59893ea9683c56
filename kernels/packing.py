"""What gather_blocks and scatter_blocks share: the same arguments, checked and launched the same way."""

from typing import Any, Final

import torch
import triton

from residentkv.contract.errors import ContractError
from residentkv.kernels.checks import check_pairs, check_tensor, words_of_runs

# int32 words per program: 16 bytes for each of 128 threads, four times over to keep loads in flight.
TILE_WORDS: Final = 2048


def launch_packing(kernel: Any, blocks: torch.Tensor, slots: torch.Tensor, pairs: torch.Tensor) -> None:
    """Check the arguments and launch `kernel` on the grid (pair, plane, tile). Nothing is launched for no bytes.

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
    kernel[(pairs.shape[0], num_planes, triton.cdiv(run_words, TILE_WORDS))](
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
