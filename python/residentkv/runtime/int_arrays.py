"""Integers that callers bring, as the one-dimensional contiguous int32 arrays that the native core reads."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from residentkv.contract.errors import ContractError

Int32Array = NDArray[np.int32]

INT32: Final = np.dtype(np.int32)
_INT32_MAX: Final = int(np.iinfo(np.int32).max)
_INT32_MIN: Final = int(np.iinfo(np.int32).min)


def as_int32(name: str, values: ArrayLike) -> Int32Array:
    """View or copy `values` as int32; an int32 array is returned without a copy. O(len).

    Parameters
    ----------
    name : what messages call the values.
    values : any sequence of integers, or a one-dimensional integer array.

    Raises
    ------
    ContractError : not one-dimensional, not integers (bool and float included), or a value outside int32.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ContractError(f"{name} must be a one-dimensional sequence of integers: {error}") from None
    if array.ndim != 1:
        raise ContractError(f"{name} must be one-dimensional, got shape {array.shape}; pass one flat sequence")
    if array.size == 0:  # numpy calls an empty list float64
        return np.empty(0, INT32)
    if array.dtype.kind not in "iu":
        raise ContractError(f"{name} must be integers, got dtype {array.dtype}; convert to int32")
    if not np.can_cast(array.dtype, INT32):
        low, high = int(array.min()), int(array.max())
        if low < _INT32_MIN or high > _INT32_MAX:
            raise ContractError(f"{name} must fit int32, got values from {low} to {high}")
    return np.ascontiguousarray(array, dtype=INT32)


def as_tokens(tokens: ArrayLike) -> Int32Array:
    """Token ids as int32. O(len).

    Raises
    ------
    ContractError : as `as_int32`; no tokens at all; or a negative id.
    """
    array = as_int32("tokens", tokens)
    if array.size == 0:
        raise ContractError("tokens must not be empty; a request needs at least one token to compute")
    if (low := int(array.min())) < 0:
        raise ContractError(f"token ids must be >= 0, got {low}")
    return array


def as_new_tokens(max_new_tokens: int | None) -> int:
    """The native form of an optional bound: -1 is none.

    Raises
    ------
    ContractError : not an int >= 0.
    """
    if max_new_tokens is None:
        return -1
    is_int = isinstance(max_new_tokens, int | np.integer) and not isinstance(max_new_tokens, bool)
    if not is_int or max_new_tokens < 0:
        raise ContractError(f"max_new_tokens must be an int >= 0 or None, got {max_new_tokens!r}")
    return int(max_new_tokens)
