"""Identities, token checks and the names that leave the process."""

import hashlib
import pickle
from array import array
from dataclasses import replace

import numpy as np
import pytest

from residentkv.contract.errors import ContractError
from residentkv.contract.identity import CacheIdentity, checked_tokens, request_token_map_id, reusable_object_id

IDENTITY = CacheIdentity("domain", "model", "tokenizer", "salt", 4, "fp16")
TOKENS = tuple(range(1, 14))  # three full blocks of four, and one token


@pytest.mark.parametrize("field", ["cache_key_domain", "model_id", "tokenizer_id", "salt_namespace", "kv_format"])
@pytest.mark.parametrize("value", ["", None, 3])
def test_a_name_is_a_non_empty_string(field, value):
    with pytest.raises(ContractError, match=field):
        replace(IDENTITY, **{field: value})


@pytest.mark.parametrize("field", ["adapter_id", "prompt_embedding_id"])
def test_optional_names(field):
    assert replace(IDENTITY, **{field: "x"}) != IDENTITY
    with pytest.raises(ContractError, match=field):
        replace(IDENTITY, **{field: ""})


@pytest.mark.parametrize("block_size", [0, -1, 4.0, True, None])
def test_block_size_is_a_positive_int(block_size):
    with pytest.raises(ContractError, match="block_size"):
        replace(IDENTITY, block_size=block_size)


def test_a_block_of_one_token_is_a_block():
    assert replace(IDENTITY, block_size=1).block_size == 1


def test_an_identity_is_a_value():
    assert pickle.loads(pickle.dumps(IDENTITY)) == IDENTITY
    assert len({IDENTITY, replace(IDENTITY)}) == 1


@pytest.mark.parametrize(
    "tokens", [[1, 2, 3], (1, 2, 3), array("i", [1, 2, 3]), np.array([1, 2, 3], np.int32), np.array([1, 2, 3])]
)
def test_tokens_of_any_integer_sequence(tokens):
    assert checked_tokens(tokens) == (1, 2, 3)
    assert all(type(token) is int for token in checked_tokens(tokens))


@pytest.mark.parametrize(
    "tokens",
    [[-1], [2**31], [1.0], ["1"], "12", [[1, 2]], [None], np.zeros((2, 2), np.int32), np.zeros(2), np.array(3)],
)
def test_anything_else_is_no_token_sequence(tokens):
    with pytest.raises(ContractError, match="token"):
        checked_tokens(tokens)


def test_largest_token_id():
    assert checked_tokens([0, 2**31 - 1]) == (0, 2**31 - 1)


def test_object_name_is_a_chain_over_identity_tokens_and_keys():
    """Recomputed by hand: the format is a wire format."""
    root = hashlib.sha256(
        b'["residentkv",1,"object",{"adapter_id":null,"block_size":4,"cache_key_domain":"domain","kv_format":"fp16",'
        b'"model_id":"model","prompt_embedding_id":null,"salt_namespace":"salt","tokenizer_id":"tokenizer"}]'
    ).digest()
    first = hashlib.sha256(root + np.array(TOKENS[:4], "<i4").tobytes() + b"\x00").digest()
    second = hashlib.sha256(first + np.array(TOKENS[4:8], "<i4").tobytes() + b"\x01key").digest()
    assert reusable_object_id(IDENTITY, TOKENS, 0) == root.hex()
    assert reusable_object_id(IDENTITY, TOKENS, 1, [None]) == first.hex()
    assert reusable_object_id(IDENTITY, TOKENS, 2, [None, b"key"]) == second.hex()


def test_object_name_depends_on_nothing_behind_the_object():
    assert reusable_object_id(IDENTITY, TOKENS, 2) == reusable_object_id(IDENTITY, (*TOKENS[:8], 99), 2)


@pytest.mark.parametrize(
    "other",
    [
        reusable_object_id(replace(IDENTITY, salt_namespace="other"), TOKENS, 2),
        reusable_object_id(replace(IDENTITY, adapter_id="lora"), TOKENS, 2),
        reusable_object_id(IDENTITY, (0, *TOKENS[1:]), 2),
        reusable_object_id(IDENTITY, TOKENS, 3),
        reusable_object_id(IDENTITY, TOKENS, 2, [b""]),
        reusable_object_id(IDENTITY, TOKENS, 2, [None, b"x"]),
        request_token_map_id(IDENTITY, TOKENS[:8]),
    ],
)
def test_everything_else_changes_the_object_name(other):
    assert other != reusable_object_id(IDENTITY, TOKENS, 2)


@pytest.mark.parametrize("num_blocks", [-1, 4])
def test_a_partial_block_is_not_an_object(num_blocks):
    with pytest.raises(ContractError, match=r"\[0, 3\]"):
        reusable_object_id(IDENTITY, TOKENS, num_blocks)


def test_token_map_name_covers_the_partial_block():
    assert request_token_map_id(IDENTITY, TOKENS) == request_token_map_id(IDENTITY, list(TOKENS))
    assert request_token_map_id(IDENTITY, TOKENS) != request_token_map_id(IDENTITY, TOKENS[:-1])
    assert request_token_map_id(IDENTITY, TOKENS) != request_token_map_id(replace(IDENTITY, model_id="x"), TOKENS)
