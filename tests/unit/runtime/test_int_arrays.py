import numpy as np
import pytest

from residentkv.contract.errors import ContractError
from residentkv.runtime.int_arrays import as_count, as_extra_keys, as_int32, as_tokens


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3],
        (1, 2, 3),
        range(1, 4),
        np.array([1, 2, 3], np.int64),
        np.array([1, 2, 3], np.uint8),
        np.array([1, 2, 3], ">i4"),
        np.array([1, 9, 2, 9, 3, 9], np.int32)[::2],
    ],
)
def test_any_flat_integers_become_contiguous_int32(values: object):
    array = as_int32("values", values)
    assert array.dtype == np.int32
    assert array.flags.c_contiguous
    assert array.tolist() == [1, 2, 3]


def test_int32_arrays_are_not_copied():
    array = np.arange(5, dtype=np.int32)
    assert as_int32("values", array) is array


def test_an_empty_list_is_empty_not_float():
    assert as_int32("values", []).dtype == np.int32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0], "must be integers, got dtype float64"),
        ([float("nan")], "must be integers, got dtype float64"),
        ([True, False], "must be integers, got dtype bool"),
        (["a"], "must be integers, got dtype <U1"),
        ("abc", r"must be one-dimensional, got shape \(\)"),
        ([[1, 2], [3, 4]], r"must be one-dimensional, got shape \(2, 2\)"),
        ([[1, 2], [3]], "must be a one-dimensional sequence of integers"),
        (7, r"must be one-dimensional, got shape \(\)"),
        (None, r"must be one-dimensional, got shape \(\)"),
        ([2**31], "must fit int32, got values from 2147483648 to 2147483648"),
        ([-(2**31) - 1, 0], "must fit int32"),
        (np.array([2**63], np.uint64), "must fit int32"),
        ([2**80], "must be integers, got dtype object"),
    ],
)
def test_anything_else_is_named(values: object, message: str):
    with pytest.raises(ContractError, match=f"rows {message}"):
        as_int32("rows", values)


def test_tokens_are_not_empty_and_not_negative():
    assert as_tokens([0, 2**31 - 1]).tolist() == [0, 2**31 - 1]
    with pytest.raises(ContractError, match="tokens must not be empty"):
        as_tokens([])
    with pytest.raises(ContractError, match="token ids must be >= 0, got -4"):
        as_tokens([3, -4])


@pytest.mark.parametrize("value", [0, 5, np.int64(5)])
def test_counts_become_plain_ints(value: int):
    assert type(as_count("n", value)) is int


@pytest.mark.parametrize("value", [-1, 1.0, float("nan"), True, "1", None, np.float64(2), 2**63])
def test_other_counts_are_named(value: object):
    with pytest.raises(ContractError, match="n must be an int >= 0 of at most 63 bits, got"):
        as_count("n", value)


def test_extra_keys_are_bytes_or_none_per_block():
    assert as_extra_keys(None) is None
    assert as_extra_keys([b"lora", None]) == [b"lora", None]


@pytest.mark.parametrize("keys", [["lora"], 5, b"lora", [b"a", 1]])
def test_other_extra_keys_are_named(keys: object):
    with pytest.raises(ContractError, match="extra_keys must be a sequence with bytes or None per full block"):
        as_extra_keys(keys)
