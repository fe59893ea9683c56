"""Attention of one query token per request over its paged KV: grouped-query, split over long contexts, windowed.

Note [Split and reduce]
Rationale: a decode has one query per request, so a batch alone gives too few programs to fill a device with a long
context. Approach: the context is cut into splits that are computed by programs of their own; each leaves its softmax
average and the logarithm of its weight sum, and a second kernel combines them. Limitations: the reduction is launched
for
one split too, which costs a launch and keeps one path. Source: Flash-Decoding (Dao, Haziza, Massa, Sizov, 2023); online
softmax, arXiv 1805.02867.
"""

from dataclasses import dataclass, field
from typing import Final

import torch
import triton
import triton.language as tl

from residentkv.contract.errors import ContractError
from residentkv.kernels.checks import check_contiguous, check_last_contiguous, check_tensor
from residentkv.kernels.fp8_codec import decode_fp8
from residentkv.kernels.reshape_and_cache import FP8_MANTISSA, PLAIN_DTYPES, FP8Scales

TILE_TOKENS: Final = 32  # keys per iteration
MIN_DOT: Final = 16  # tl.dot takes no smaller side; fewer query heads are padded
# Programs wanted in flight. A guess to be measured: about two for each multiprocessor of a large device.
WANTED_PROGRAMS: Final = 256
MIN_TOKENS_PER_SPLIT: Final = 256
_TL_DTYPES: Final = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How scores become weights, and how the context is split.

    Attributes
    ----------
    factor : multiplies the scores.
    window : a query sees its last `window` tokens, > 0; None means all.
    scales : of fp8 storage.
    tokens_per_split : a positive multiple of TILE_TOKENS; None chooses it from the batch and the longest context.
    """

    factor: float
    window: int | None = None
    scales: FP8Scales = field(default_factory=FP8Scales)
    tokens_per_split: int | None = None


@triton.jit
def _load_tile(blocks_ptr, inside, MANTISSA: tl.constexpr, DOT_DTYPE: tl.constexpr):
    tile = tl.load(blocks_ptr, mask=inside, other=0)
    if MANTISSA == 0:
        return tile.to(DOT_DTYPE)
    return decode_fp8(tile, MANTISSA).to(DOT_DTYPE)


@triton.jit
def paged_decode_kernel(
    query_ptr,  # [batch, num_heads, head_dim], compute dtype
    key_blocks_ptr,  # [num_blocks, block_size, num_kv_heads, head_dim] by strides; compute dtype, or uint8 for fp8
    value_blocks_ptr,  # the same
    block_table_ptr,  # [batch, max_blocks] int32
    context_lens_ptr,  # [batch] int32
    partial_ptr,  # [batch, num_heads, num_splits, head_dim] float32: softmax average of a split
    log_weight_ptr,  # [batch, num_heads, num_splits] float32: log2 of a split's weight sum, -inf when it saw nothing
    query_batch_stride,  # these and the following in elements
    query_head_stride,
    block_stride,
    offset_stride,
    head_stride,
    table_stride,
    factor,  # scores times this are powers of two: scale * key scale * log2(e)
    block_size,
    window,  # tokens a query sees
    tokens_per_split,  # multiple of TILE
    head_dim,
    GROUP: tl.constexpr,  # query heads per KV head
    GROUP_PAD: tl.constexpr,  # power of two >= max(GROUP, 16)
    DIM: tl.constexpr,  # power of two >= max(head_dim, 16)
    TILE: tl.constexpr,  # keys per iteration
    MANTISSA: tl.constexpr,  # 0: stored as computed; 3: e4m3; 2: e5m2
    DOT_DTYPE: tl.constexpr,  # of the operands of tl.dot
):
    """Grid (batch, num_kv_heads, num_splits). Reference: tests/kernels/reference.py::paged_decode."""
    request, kv_head, split = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    num_kv_heads, num_splits = tl.num_programs(1), tl.num_programs(2)
    context_len = tl.load(context_lens_ptr + request)
    first_seen = tl.maximum(context_len - window, 0)
    begin = tl.maximum(split * tokens_per_split, (first_seen // TILE) * TILE)
    end = tl.minimum((split + 1) * tokens_per_split, context_len)

    group = tl.arange(0, GROUP_PAD)
    dims = tl.arange(0, DIM)
    heads = kv_head * GROUP + group
    in_query = (group[:, None] < GROUP) & (dims[None, :] < head_dim)
    query = tl.load(
        query_ptr + request * query_batch_stride + heads[:, None] * query_head_stride + dims[None, :],
        mask=in_query,
        other=0,
    ).to(DOT_DTYPE)

    highest = tl.full([GROUP_PAD], float("-inf"), tl.float32)
    weight_sum = tl.zeros([GROUP_PAD], tl.float32)
    average = tl.zeros([GROUP_PAD, DIM], tl.float32)
    for start in range(begin, end, TILE):
        positions = start + tl.arange(0, TILE)
        seen = (positions >= first_seen) & (positions < end)
        blocks = tl.load(block_table_ptr + request * table_stride + positions // block_size, mask=seen, other=0)
        offsets = blocks.to(tl.int64) * block_stride + (positions % block_size) * offset_stride + kv_head * head_stride
        # What a query does not see is not read: zero weight times a stranger's NaN would be NaN.
        inside = seen[:, None] & (dims[None, :] < head_dim)
        keys = _load_tile(key_blocks_ptr + offsets[:, None] + dims[None, :], inside, MANTISSA, DOT_DTYPE)
        scores = tl.dot(query, tl.trans(keys), input_precision="ieee") * factor
        scores = tl.where(seen[None, :], scores, float("-inf"))
        # The first tile visited and every later one hold a seen token, so `raised` is finite.
        raised = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.exp2(scores - raised[:, None])
        fade = tl.exp2(highest - raised)
        values = _load_tile(value_blocks_ptr + offsets[:, None] + dims[None, :], inside, MANTISSA, DOT_DTYPE)
        average = average * fade[:, None] + tl.dot(weights.to(DOT_DTYPE), values, input_precision="ieee")
        weight_sum = weight_sum * fade + tl.sum(weights, 1)
        highest = raised

    saw_something = begin < end
    divisor = tl.where(saw_something, weight_sum, 1.0)
    row = (request * num_kv_heads * GROUP + heads) * num_splits + split
    tl.store(partial_ptr + row[:, None] * head_dim + dims[None, :], average / divisor[:, None], mask=in_query)
    log_weight = tl.where(saw_something, highest + tl.log2(divisor), float("-inf"))
    tl.store(log_weight_ptr + row, log_weight, mask=group < GROUP)


@triton.jit
def reduce_splits_kernel(
    partial_ptr,  # [batch, num_heads, num_splits, head_dim] float32
    log_weight_ptr,  # [batch, num_heads, num_splits] float32
    output_ptr,  # [batch, num_heads, head_dim] contiguous, compute dtype
    value_scale,  # float32
    num_splits,
    head_dim,
    SPLITS: tl.constexpr,  # power of two >= num_splits
    DIM: tl.constexpr,  # power of two >= head_dim
):
    """Grid (batch * num_heads,). A request without context gets zeros. Reference: as paged_decode_kernel."""
    row = tl.program_id(0).to(tl.int64)
    splits = tl.arange(0, SPLITS)
    log_weights = tl.load(log_weight_ptr + row * num_splits + splits, mask=splits < num_splits, other=float("-inf"))
    highest = tl.max(log_weights, 0)
    highest = tl.where(highest == float("-inf"), 0.0, highest)  # no split saw anything: every weight is exp2(-inf) = 0
    dims = tl.arange(0, DIM)
    weight_sum = 0.0
    average = tl.zeros([DIM], tl.float32)
    for split in range(num_splits):
        weight = tl.exp2(tl.load(log_weight_ptr + row * num_splits + split) - highest)
        partial = tl.load(partial_ptr + (row * num_splits + split) * head_dim + dims, mask=dims < head_dim, other=0.0)
        average += weight * partial
        weight_sum += weight
    average = average * value_scale / tl.where(weight_sum == 0.0, 1.0, weight_sum)
    tl.store(output_ptr + row * head_dim + dims, average.to(output_ptr.dtype.element_ty), mask=dims < head_dim)


def paged_decode(
    query: torch.Tensor,
    key_blocks: torch.Tensor,
    value_blocks: torch.Tensor,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    options: DecodeOptions,
) -> torch.Tensor:
    """Attend from each request's last token to its context. O(tokens seen), and O(batch * splits) for the reduction.

    Parameters
    ----------
    query : `[batch, num_heads, head_dim]` float32, float16 or bfloat16; last dimension contiguous; num_heads a
        multiple of
        num_kv_heads, heads of one group adjacent.
    key_blocks, value_blocks : `[num_blocks, block_size, num_kv_heads, head_dim]`, equal strides, last dimension
        contiguous;
        dtype of `query`, or float8_e4m3fn or float8_e5m2. HND storage is passed as `blocks.transpose(1, 2)`.
    block_table : `[batch, max_blocks]` int32, last dimension contiguous. Entries past a context are not read. REQUIRES:
        others in [0, num_blocks).
    context_lens : `[batch]` int32, tokens of each request, the query's own included. REQUIRES: in
        [0, max_blocks * block_size]. 0 gives zeros.
    options : scale, window, splits. The table's width bounds the context: pass one no wider than the longest needs.

    Returns
    -------
    `[batch, num_heads, head_dim]`, contiguous, dtype of `query`. Accumulated in float32.

    Raises
    ------
    ContractError : a shape, stride, dtype, device or option differs. Nothing was launched.
    """
    _check(query, key_blocks, value_blocks, block_table, context_lens, options)
    batch, num_heads, head_dim = query.shape
    _, block_size, num_kv_heads, _ = key_blocks.shape
    output = torch.empty((batch, num_heads, head_dim), dtype=query.dtype, device=query.device)
    longest = block_table.shape[1] * block_size
    if output.numel() == 0:
        return output
    tokens_per_split = options.tokens_per_split or _tokens_per_split(batch * num_kv_heads, longest)
    num_splits = max(1, triton.cdiv(longest, tokens_per_split))
    partial = torch.empty((batch, num_heads, num_splits, head_dim), dtype=torch.float32, device=query.device)
    log_weights = torch.empty((batch, num_heads, num_splits), dtype=torch.float32, device=query.device)
    mantissa = FP8_MANTISSA.get(key_blocks.dtype, 0)
    movable = torch.uint8 if mantissa else key_blocks.dtype
    group = num_heads // num_kv_heads
    paged_decode_kernel[(batch, num_kv_heads, num_splits)](
        query,
        key_blocks.view(movable),
        value_blocks.view(movable),
        block_table,
        context_lens,
        partial,
        log_weights,
        query.stride(0),
        query.stride(1),
        key_blocks.stride(0),
        key_blocks.stride(1),
        key_blocks.stride(2),
        block_table.stride(0),
        options.factor * options.scales.keys * 1.4426950408889634,  # log2(e)
        block_size,
        longest if options.window is None else min(options.window, longest),
        tokens_per_split,
        head_dim,
        GROUP=group,
        GROUP_PAD=max(MIN_DOT, triton.next_power_of_2(group)),
        DIM=max(MIN_DOT, triton.next_power_of_2(head_dim)),
        TILE=TILE_TOKENS,
        MANTISSA=mantissa,
        DOT_DTYPE=dot_dtype(query.dtype),
        enable_fp_fusion=True,
    )
    reduce_splits_kernel[(batch * num_heads,)](
        partial,
        log_weights,
        output,
        options.scales.values,
        num_splits,
        head_dim,
        SPLITS=triton.next_power_of_2(num_splits),
        DIM=triton.next_power_of_2(head_dim),
        enable_fp_fusion=True,
    )
    return output


def dot_dtype(compute: torch.dtype) -> tl.dtype:
    """What tl.dot multiplies: the compute dtype; float32 in Triton's interpreter, which multiplies bfloat16 as raw
    bits."""
    return tl.float32 if triton.knobs.runtime.interpret else _TL_DTYPES[compute]


def _tokens_per_split(programs_per_split: int, longest: int) -> int:
    num_splits = max(1, min(WANTED_PROGRAMS // programs_per_split, longest // MIN_TOKENS_PER_SPLIT))
    return int(max(1, triton.cdiv(triton.cdiv(longest, num_splits), TILE_TOKENS))) * TILE_TOKENS


def _check(
    query: torch.Tensor,
    key_blocks: torch.Tensor,
    value_blocks: torch.Tensor,
    block_table: torch.Tensor,
    context_lens: torch.Tensor,
    options: DecodeOptions,
) -> None:
    device = key_blocks.device
    stored = key_blocks.dtype
    check_tensor(
        "key_blocks", key_blocks, shape=(None,) * 4, dtypes=(*PLAIN_DTYPES, *FP8_MANTISSA), device=key_blocks.device
    )
    check_tensor("value_blocks", value_blocks, shape=key_blocks.shape, dtypes=(stored,), device=device)
    _, _, num_kv_heads, head_dim = key_blocks.shape
    compute_dtypes = PLAIN_DTYPES if stored in FP8_MANTISSA else (stored,)
    check_tensor("query", query, shape=(None, None, head_dim), dtypes=compute_dtypes, device=device)
    batch, num_heads, _ = query.shape
    if num_kv_heads == 0 or num_heads % num_kv_heads != 0:
        raise ContractError(f"num_heads={num_heads} is not a multiple of num_kv_heads={num_kv_heads}")
    check_tensor("block_table", block_table, shape=(batch, None), dtypes=(torch.int32,), device=device)
    check_tensor("context_lens", context_lens, shape=(batch,), dtypes=(torch.int32,), device=device)
    check_contiguous("context_lens", context_lens)
    for name, tensor in (
        ("query", query),
        ("key_blocks", key_blocks),
        ("value_blocks", value_blocks),
        ("block_table", block_table),
    ):
        check_last_contiguous(name, tensor)
    if key_blocks.stride() != value_blocks.stride():
        raise ContractError(
            f"key_blocks has strides {list(key_blocks.stride())}, value_blocks {list(value_blocks.stride())}"
        )
    if options.window is not None and options.window <= 0:
        raise ContractError(f"window={options.window} must be positive")
    tokens = options.tokens_per_split
    if tokens is not None and (tokens <= 0 or tokens % TILE_TOKENS != 0):
        raise ContractError(f"tokens_per_split={tokens} must be a positive multiple of {TILE_TOKENS}")
