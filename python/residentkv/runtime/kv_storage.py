"""Paged KV storage: torch tensors addressed by block id and slot.

Owns the bytes and nothing else. Which block belongs to whom is the block manager's business; the two agree only on ids:
`slot = block * block_size + offset`, blocks 0..num_blocks - 1. With a null block (architecture.md 13) the storage has
usable + 1 rows and row 0 takes padding writes: its content means nothing and nobody may rely on what is read from it.

Invariants: (1) all layers share one allocation `[num_layers, 2, num_blocks, *block_shape]` (2: keys, values),
contiguous, on one device. (2) A slot of a block that was never written holds zeros, so memory of other processes never
shows up as KV.

Thread safety: none. On CUDA every call runs on the current stream and none waits for the device, except a `write` that
has to drop padding from a storage without a null block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from residentkv.contract.errors import ContractError

PADDING_SLOT: Final = -1

_PLAIN_DTYPES: Final = (torch.float32, torch.float16, torch.bfloat16)
_FP8_DTYPES: Final = (torch.float8_e4m3fn, torch.float8_e5m2)


class KVLayout(str, Enum):
    """Order of the dimensions inside one block, by the names that FlashInfer and vLLM use."""

    NHD = "NHD"  # [block_size, num_kv_heads, head_dim]: one token is contiguous
    HND = "HND"  # [num_kv_heads, block_size, head_dim]: one head is contiguous


class KeysValues(NamedTuple):
    """Keys and values of the same tokens, in the same shape."""

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, slots=True)
class KVStorageOptions:
    """Shape and format of a storage.

    Attributes
    ----------
    num_layers, num_kv_heads, head_dim : of the model, > 0.
    block_size : tokens per block, > 0.
    usable_blocks : blocks that a manager hands out, > 0.
    null_block : True adds row 0 for padding; must equal the manager's setting.
    dtype : what is stored: float32, float16, bfloat16, float8_e4m3fn or float8_e5m2.
    compute_dtype : what `write` takes and `gather` returns; None means `dtype`. Only fp8 storage may (and must) name
        another one.
    layout : NHD or HND.
    key_scales, value_scales : fp8 only, one positive number a layer; stored = computed / scale. None means 1.0
        everywhere.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int
    block_size: int
    usable_blocks: int
    null_block: bool = True
    dtype: torch.dtype = torch.float32
    compute_dtype: torch.dtype | None = None
    layout: KVLayout = KVLayout.NHD
    key_scales: Sequence[float] | None = None
    value_scales: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for name in ("num_layers", "num_kv_heads", "head_dim", "block_size", "usable_blocks"):
            if getattr(self, name) <= 0:
                raise ContractError(f"{name}={getattr(self, name)} must be positive")
        if self.dtype not in _PLAIN_DTYPES + _FP8_DTYPES:
            raise ContractError(f"storage dtype {self.dtype} is not one of {_PLAIN_DTYPES + _FP8_DTYPES}")
        if self.resolved_compute_dtype not in _PLAIN_DTYPES:
            raise ContractError(f"fp8 storage needs compute_dtype, one of {_PLAIN_DTYPES}; got {self.compute_dtype}")
        if not self.is_fp8 and self.resolved_compute_dtype != self.dtype:
            raise ContractError(
                f"compute_dtype={self.compute_dtype} differs from dtype={self.dtype}, which only fp8 storage allows"
            )
        for name, scales in (("key_scales", self.key_scales), ("value_scales", self.value_scales)):
            if scales is not None:
                self._check_scales(name, scales)

    def _check_scales(self, name: str, scales: Sequence[float]) -> None:
        if not self.is_fp8:
            raise ContractError(f"{name} given, but {self.dtype} storage is not scaled")
        if len(scales) != self.num_layers:
            raise ContractError(f"{name} has {len(scales)} entries, num_layers={self.num_layers}")
        if not all(0.0 < scale < float("inf") for scale in scales):
            raise ContractError(f"{name} must be positive and finite: {list(scales)}")

    @property
    def is_fp8(self) -> bool:
        """Whether values are stored in 8 bits, with scales."""
        return self.dtype in _FP8_DTYPES

    @property
    def resolved_compute_dtype(self) -> torch.dtype:
        """What `write` takes and `gather` returns."""
        return self.dtype if self.compute_dtype is None else self.compute_dtype

    @property
    def num_blocks(self) -> int:
        """Rows of the storage: usable blocks, and the null block if there is one."""
        return self.usable_blocks + int(self.null_block)

    @property
    def block_shape(self) -> tuple[int, int, int]:
        """Dimensions of one block of keys (or values) of one layer."""
        if self.layout is KVLayout.NHD:
            return (self.block_size, self.num_kv_heads, self.head_dim)
        return (self.num_kv_heads, self.block_size, self.head_dim)

    @property
    def kv_format(self) -> str:
        """Name for `CacheIdentity.kv_format`: KV of different formats is never shared."""
        return f"{str(self.dtype).removeprefix('torch.')}-{self.layout.value}"


class KVStorage:
    """Keys and values of `num_blocks` blocks for every layer of one model, on one device.

    Parameters
    ----------
    options : shape and format.
    device : where the tensors live; everything passed in later must live there too.

    Raises
    ------
    torch.OutOfMemoryError : the device has less than `num_bytes` to give.
    """

    def __init__(self, options: KVStorageOptions, *, device: torch.device | str) -> None:
        self.options = options
        shape = (options.num_layers, 2, options.num_blocks, *options.block_shape)
        # Zeros, not empty: see invariant 2. Zero is the same byte pattern in every dtype stored here.
        self._tensor = torch.zeros(shape, dtype=options.dtype, device=device)
        # torch indexes fp8 on few devices but bytes on all of them: data moves through this view, arithmetic through
        # `_tensor`.
        self._movable = self._tensor.view(torch.uint8) if options.is_fp8 else self._tensor

    @property
    def device(self) -> torch.device:
        """Where the tensors live, with its index."""
        return self._tensor.device

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole storage."""
        return self._tensor.nbytes

    def key_blocks(self, layer: int) -> torch.Tensor:
        """Keys of a layer for kernels: a contiguous view `[num_blocks, *block_shape]` of `dtype`."""
        return self._tensor[self._checked_layer(layer), 0]

    def value_blocks(self, layer: int) -> torch.Tensor:
        """Values of a layer for kernels: a contiguous view `[num_blocks, *block_shape]` of `dtype`."""
        return self._tensor[self._checked_layer(layer), 1]

    def write(self, layer: int, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor) -> None:
        """Store the KV of some tokens of one layer. O(tokens).

        Parameters
        ----------
        layer : 0 <= layer < num_layers.
        keys, values : `[num_tokens, num_kv_heads, head_dim]`, compute dtype, last dimension contiguous.
        slots : `[num_tokens]` int64: where each token goes. Distinct, except for padding: slot -1, and with a null
            block any slot of block 0. Padding reaches no block that a request can hold. Without a null block, -1 is
            dropped (waits for the device).

        Raises
        ------
        ContractError : a shape, stride, dtype or device differs, or a slot is outside the storage. Slots on an
            accelerator are checked by the device itself, because looking at them here would wait for it.
        """
        layer = self._checked_layer(layer)
        self._check_slots(slots, lowest=PADDING_SLOT)
        self._check_tokens("keys", keys, slots)
        self._check_tokens("values", values, slots)
        if self.options.null_block:
            slots = slots.clamp_min(0)
        else:
            kept = slots >= 0
            keys, values, slots = keys[kept], values[kept], slots[kept]
        self._scatter(self._movable[layer, 0], slots, self._encode(keys, _scale_of(self.options.key_scales, layer)))
        self._scatter(self._movable[layer, 1], slots, self._encode(values, _scale_of(self.options.value_scales, layer)))

    def gather(self, layer: int, slots: torch.Tensor) -> KeysValues:
        """Read the KV of some tokens of one layer into new tensors. O(tokens).

        Parameters
        ----------
        layer : 0 <= layer < num_layers.
        slots : `[num_tokens]` int64, none of them padding; repeats are fine.

        Returns
        -------
        Keys and values `[num_tokens, num_kv_heads, head_dim]`, contiguous, in the compute dtype.

        Raises
        ------
        ContractError : as `write`.
        """
        layer = self._checked_layer(layer)
        self._check_slots(slots, lowest=0)
        return KeysValues(
            self._decode(self._take(self._movable[layer, 0], slots), _scale_of(self.options.key_scales, layer)),
            self._decode(self._take(self._movable[layer, 1], slots), _scale_of(self.options.value_scales, layer)),
        )

    def copy_blocks(self, pairs: NDArray[np.int32]) -> None:
        """Copy whole blocks in every layer, for copy-on-write. Bit-exact; O(pairs), with a temporary of the same size.

        Parameters
        ----------
        pairs : `[num_pairs, 2]` int32 on the host: (source block, target block), as `StepPlan.copies`. Every source is
            read before any target is written. A target occurs once and is not the null block.

        Raises
        ------
        ContractError : wrong shape or dtype, a block outside the storage, the null block or a repeated block as target.
        """
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype != np.int32:
            raise ContractError(f"pairs must be int32 [num_pairs, 2]; got {pairs.dtype} {list(pairs.shape)}")
        if pairs.size == 0:
            return
        num_blocks = self.options.num_blocks
        if pairs.min() < 0 or pairs.max() >= num_blocks:
            raise ContractError(f"block in [{pairs.min()}, {pairs.max()}] outside [0, {num_blocks})")
        targets = pairs[:, 1]
        if self.options.null_block and not targets.all():
            raise ContractError("the null block (0) can not be the target of a copy")
        if len(np.unique(targets)) != len(targets):
            raise ContractError(f"a target block is named twice: {targets.tolist()}")
        indices = torch.from_numpy(pairs.astype(np.int64)).to(self.device)
        self._movable.index_copy_(2, indices[:, 1], self._movable.index_select(2, indices[:, 0]))

    def _scatter(self, blocks: torch.Tensor, slots: torch.Tensor, tokens: torch.Tensor) -> None:
        if self.options.layout is KVLayout.NHD:
            blocks.flatten(0, 1).index_copy_(0, slots, tokens)
        else:
            block_size = self.options.block_size
            blocks[slots // block_size, :, slots % block_size] = tokens

    def _take(self, blocks: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        if self.options.layout is KVLayout.NHD:
            return blocks.flatten(0, 1).index_select(0, slots)
        block_size = self.options.block_size
        return blocks[slots // block_size, :, slots % block_size]

    def _encode(self, tokens: torch.Tensor, scale: float) -> torch.Tensor:
        """Compute dtype to the stored bytes. fp8 saturates: a bare cast of overflow differs by format."""
        if not self.options.is_fp8:
            return tokens
        limit = torch.finfo(self.options.dtype).max
        return (tokens.float() / scale).clamp(-limit, limit).to(self.options.dtype).view(torch.uint8)

    def _decode(self, stored: torch.Tensor, scale: float) -> torch.Tensor:
        if not self.options.is_fp8:
            return stored
        return (stored.view(self.options.dtype).float() * scale).to(self.options.resolved_compute_dtype)

    def _checked_layer(self, layer: int) -> int:
        if not 0 <= layer < self.options.num_layers:
            raise ContractError(f"layer={layer} outside [0, {self.options.num_layers})")
        return layer

    def _check_slots(self, slots: torch.Tensor, *, lowest: int) -> None:
        if slots.dim() != 1 or slots.dtype != torch.int64:
            raise ContractError(f"slots must be int64 [num_tokens]; got {slots.dtype} {list(slots.shape)}")
        if slots.device != self.device:
            raise ContractError(f"slots live on {slots.device}, the storage on {self.device}")
        if slots.device.type == "cpu" and slots.numel() > 0:
            first, last = (int(bound) for bound in torch.aminmax(slots))
            end = self.options.num_blocks * self.options.block_size
            if first < lowest or last >= end:
                raise ContractError(f"slot in [{first}, {last}] outside [{lowest}, {end})")

    def _check_tokens(self, name: str, tokens: torch.Tensor, slots: torch.Tensor) -> None:
        wanted = (slots.shape[0], self.options.num_kv_heads, self.options.head_dim)
        if tuple(tokens.shape) != wanted:
            raise ContractError(
                f"{name} must be [num_tokens, num_kv_heads, head_dim]={list(wanted)}; got {list(tokens.shape)}"
            )
        if tokens.dtype != self.options.resolved_compute_dtype:
            raise ContractError(
                f"{name} is {tokens.dtype}, the storage computes in {self.options.resolved_compute_dtype}"
            )
        if tokens.device != self.device:
            raise ContractError(f"{name} lives on {tokens.device}, the storage on {self.device}")
        if tokens.stride(-1) != 1 and self.options.head_dim > 1:
            raise ContractError(
                f"{name} has stride {tokens.stride(-1)} in its last dimension; head_dim must be contiguous"
            )


def _scale_of(scales: Sequence[float] | None, layer: int) -> float:
    return 1.0 if scales is None else scales[layer]
