"""What callers bring, in the form that the native core reads: flat contiguous int32 arrays and plain ints."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from residentkv.contract.errors import ContractError
from residentkv.contract.identity import ExtraKeys

Int32Array = NDArray[np.int32]
UInt8Array = NDArray[np.uint8]

INT32: Final = np.dtype(np.int32)
_INT64_MAX: Final = int(np.iinfo(np.int64).max)
_INT32_MAX: Final = int(np.iinfo(np.int32).max)
_INT32_MIN: Final = int(np.iinfo(np.int32).min)


def as_int32(name: str, values: Any) -> Int32Array:
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


def as_count(name: str, value: object) -> int:
    """A count as a plain int that fits 64 bits.

    Raises
    ------
    ContractError : not an int in [0, 2**63).
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value <= _INT64_MAX:
        raise ContractError(f"{name} must be an int >= 0 of at most 63 bits, got {value!r}")
    return int(value)


def as_extra_keys(extra_keys: object) -> ExtraKeys | None:
    """Extra keys as given, once they are known to be in order. O(keys).

    Raises
    ------
    ContractError : not None, and not a sequence of bytes or None.
    """
    if extra_keys is None:
        return None
    if not isinstance(extra_keys, Sequence) or not all(key is None or isinstance(key, bytes) for key in extra_keys):
        raise ContractError(f"extra_keys must be a sequence with bytes or None per full block, got {extra_keys!r}")
    return extra_keys
