"""What launchers have in common: checks that raise ContractError with the numbers, and the view as 32-bit words."""

from collections.abc import Sequence
from typing import Final

import torch

from residentkv.contract.errors import ContractError

# What one access of a copy kernel moves: 128 bits, the widest load and store of the architectures compiled for.
ACCESS_BYTES: Final = 16
WORD_BYTES: Final = 4


def check_tensor(
    name: str, tensor: torch.Tensor, *, shape: Sequence[int | None], dtypes: Sequence[torch.dtype], device: torch.device
) -> None:
    """Raise ContractError unless `tensor` has the shape (None: any size), one of the dtypes, and the device."""
    found = tuple(tensor.shape)
    if len(found) != len(shape) or any(want not in (None, have) for want, have in zip(shape, found, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ContractError(f"{name} must have shape [{wanted}]; got {list(found)}")
    if tensor.dtype not in dtypes:
        raise ContractError(f"{name} must be one of {[str(dtype) for dtype in dtypes]}; got {tensor.dtype}")
    if tensor.device != device:
        raise ContractError(f"{name} lives on {tensor.device}, the blocks on {device}")


def check_contiguous(name: str, tensor: torch.Tensor) -> None:
    """Raise ContractError unless `tensor` is contiguous."""
    if not tensor.is_contiguous():
        raise ContractError(f"{name} must be contiguous; strides are {list(tensor.stride())} of {list(tensor.shape)}")


def check_last_contiguous(name: str, tensor: torch.Tensor) -> None:
    """Raise ContractError unless the last dimension of `tensor` is contiguous."""
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        raise ContractError(f"{name} has stride {tensor.stride(-1)} in its last dimension; it must be 1")


def check_pairs(pairs: torch.Tensor, device: torch.device) -> None:
    """Raise ContractError unless `pairs` is a contiguous int32 `[num_pairs, 2]` on `device`."""
    check_tensor("pairs", pairs, shape=(None, 2), dtypes=(torch.int32,), device=device)
    check_contiguous("pairs", pairs)


def words_of_runs(name: str, runs: torch.Tensor) -> torch.Tensor:
    """Bytes `[..., run_bytes]` as int32 words, for kernels that move 128 bits an access.

    Raises
    ------
    ContractError : not uint8, the last dimension is not contiguous, or the address, a stride or the run is not a
        multiple
        of 16 bytes.
    """
    if runs.dtype != torch.uint8:
        raise ContractError(f"{name} must be torch.uint8, the bytes of the storage; got {runs.dtype}")
    check_last_contiguous(name, runs)
    sizes = {"address": runs.data_ptr(), "run_bytes": runs.shape[-1]}
    sizes |= {f"stride {axis}": stride for axis, stride in enumerate(runs.stride()[:-1])}
    for what, num_bytes in sizes.items():
        if num_bytes % ACCESS_BYTES != 0:
            raise ContractError(f"{name}: {what}={num_bytes} bytes is not a multiple of {ACCESS_BYTES}")
    return runs.view(torch.int32)
