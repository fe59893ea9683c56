"""Store the keys and values that a step computed into their paged slots, in the storage's format."""

from dataclasses import dataclass
from typing import Final

import torch
import triton
import triton.language as tl

from residentkv.contract.errors import ContractError
from residentkv.kernels.checks import check_last_contiguous, check_tensor
from residentkv.kernels.fp8_codec import encode_fp8

PLAIN_DTYPES: Final = (torch.float32, torch.float16, torch.bfloat16)
# Mantissa bits name the format for the codec.
FP8_MANTISSA: Final = {torch.float8_e4m3fn: 3, torch.float8_e5m2: 2}
TILE_ELEMENTS: Final = 2048  # per program, of keys and of values


@dataclass(frozen=True, slots=True)
class FP8Scales:
    """Scales of one layer: stored = computed / scale. 1.0 for formats that are not scaled."""

    keys: float = 1.0
    values: float = 1.0


@triton.jit
def _store(tokens_ptr, blocks_ptr, scale, inside, MANTISSA: tl.constexpr):
    tokens = tl.load(tokens_ptr, mask=inside)
    if MANTISSA == 0:
        tl.store(blocks_ptr, tokens, mask=inside)
    else:
        # div_rn: the default division of floats is approximate on the device.
        scaled = tl.div_rn(tokens.to(tl.float32), tl.zeros_like(tokens).to(tl.float32) + scale)
        tl.store(blocks_ptr, encode_fp8(scaled, MANTISSA), mask=inside)


@triton.jit
def reshape_and_cache_kernel(
    keys_ptr,  # [num_tokens, num_kv_heads, head_dim], compute dtype
    values_ptr,  # the same
    key_blocks_ptr,  # [num_blocks, block_size, num_kv_heads, head_dim] by strides; compute dtype, or uint8 for fp8
    value_blocks_ptr,  # the same
    slots_ptr,  # [num_tokens] int64; < 0 is padding
    num_slots,  # num_blocks * block_size
    keys_token_stride,  # these and the following in elements
    keys_head_stride,
    values_token_stride,
    values_head_stride,
    block_stride,
    offset_stride,
    head_stride,
    key_scale,  # float32
    value_scale,
    block_size,
    num_heads,
    head_dim,
    HEADS: tl.constexpr,  # heads per program, power of two
    DIM: tl.constexpr,  # power of two >= head_dim
    MANTISSA: tl.constexpr,  # 0: stored as computed; 3: e4m3; 2: e5m2
):
    """Grid (num_tokens, cdiv(num_heads, HEADS)). Reference: tests/kernels/reference.py::reshape_and_cache."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots_ptr + token)
    # A slot behind the storage is the caller's bug: it is dropped, so that it is never somebody else's memory.
    if slot < 0 or slot >= num_slots:
        return
    heads = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    dims = tl.arange(0, DIM)[None, :]
    inside = (heads < num_heads) & (dims < head_dim)
    target = (slot // block_size) * block_stride + (slot % block_size) * offset_stride + heads * head_stride + dims
    _store(
        keys_ptr + token * keys_token_stride + heads * keys_head_stride + dims,
        key_blocks_ptr + target,
        key_scale,
        inside,
        MANTISSA,
    )
    _store(
        values_ptr + token * values_token_stride + heads * values_head_stride + dims,
        value_blocks_ptr + target,
        value_scale,
        inside,
        MANTISSA,
    )


def reshape_and_cache(
    keys: torch.Tensor,
    values: torch.Tensor,
    key_blocks: torch.Tensor,
    value_blocks: torch.Tensor,
    slots: torch.Tensor,
    scales: FP8Scales,
) -> None:
    """Store each token's keys and values at its slot, `slot = block * block_size + offset`. O(num_tokens).

    Parameters
    ----------
    keys, values : `[num_tokens, num_kv_heads, head_dim]` float32, float16 or bfloat16; last dimension contiguous.
    key_blocks, value_blocks : `[num_blocks, block_size, num_kv_heads, head_dim]`, equal strides, last dimension
        contiguous;
        dtype of `keys`, or float8_e4m3fn or float8_e5m2. HND storage is passed as `blocks.transpose(1, 2)`.
    slots : `[num_tokens]` int64, contiguous. -1 is padding and stores nothing. REQUIRES: others distinct and in
        [0, num_blocks * block_size); one outside stores nothing.
    scales : fp8 stores computed / scale, rounded to nearest even once, saturated. Positive and finite.

    Raises
    ------
    ContractError : a shape, stride, dtype, device or scale differs. Nothing was launched.
    """
    device = key_blocks.device
    stored = key_blocks.dtype
    check_tensor(
        "key_blocks", key_blocks, shape=(None,) * 4, dtypes=(*PLAIN_DTYPES, *FP8_MANTISSA), device=key_blocks.device
    )
    check_tensor("value_blocks", value_blocks, shape=key_blocks.shape, dtypes=(stored,), device=device)
    num_blocks, block_size, num_heads, head_dim = key_blocks.shape
    compute_dtypes = PLAIN_DTYPES if stored in FP8_MANTISSA else (stored,)
    check_tensor("keys", keys, shape=(None, num_heads, head_dim), dtypes=compute_dtypes, device=device)
    check_tensor("values", values, shape=keys.shape, dtypes=(keys.dtype,), device=device)
    check_tensor("slots", slots, shape=(keys.shape[0],), dtypes=(torch.int64,), device=device)
    for name, tensor in (
        ("keys", keys),
        ("values", values),
        ("key_blocks", key_blocks),
        ("value_blocks", value_blocks),
        ("slots", slots),
    ):
        check_last_contiguous(name, tensor)
    if key_blocks.stride() != value_blocks.stride():
        raise ContractError(
            f"key_blocks has strides {list(key_blocks.stride())}, value_blocks {list(value_blocks.stride())}"
        )
    if not all(0.0 < scale < float("inf") for scale in (scales.keys, scales.values)):
        raise ContractError(f"scales must be positive and finite; got {scales}")
    if keys.numel() == 0:
        return
    dim = triton.next_power_of_2(head_dim)
    heads = min(triton.next_power_of_2(num_heads), max(1, TILE_ELEMENTS // dim))
    movable = torch.uint8 if stored in FP8_MANTISSA else stored
    reshape_and_cache_kernel[(keys.shape[0], triton.cdiv(num_heads, heads))](
        keys,
        values,
        key_blocks.view(movable),
        value_blocks.view(movable),
        slots,
        num_blocks * block_size,
        keys.stride(0),
        keys.stride(1),
        values.stride(0),
        values.stride(1),
        key_blocks.stride(0),
        key_blocks.stride(1),
        key_blocks.stride(2),
        scales.keys,
        scales.values,
        block_size,
        num_heads,
        head_dim,
        HEADS=heads,
        DIM=dim,
        MANTISSA=FP8_MANTISSA.get(stored, 0),
        enable_fp_fusion=False,  # rounded where the source says, so that the bits are the reference's
    )
