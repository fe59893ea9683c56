from dataclasses import replace

import pytest

from residentkv.contract.errors import ContractError
from residentkv.runtime.root_table import RootTable
from tests.unit.runtime.scenario import IDENTITY


def test_the_default_identity_is_root_zero():
    roots = RootTable(IDENTITY, IDENTITY.block_size)
    assert roots.number(None) == roots.number(IDENTITY) == roots.number(replace(IDENTITY)) == 0


@pytest.mark.parametrize(
    "field",
    [
        "cache_key_domain",
        "model_id",
        "tokenizer_id",
        "salt_namespace",
        "kv_format",
        "adapter_id",
        "prompt_embedding_id",
    ],
)
def test_any_other_field_makes_another_root(field: str):
    roots = RootTable(IDENTITY, IDENTITY.block_size)
    other = replace(IDENTITY, **{field: "other"})
    assert roots.number(other) == 1
    assert roots.number(replace(other)) == 1
    assert roots.number(replace(IDENTITY, model_id="a third")) == 2


def test_a_foreign_block_size_is_refused_with_both_numbers():
    roots = RootTable(IDENTITY, IDENTITY.block_size)
    for _ in range(2):
        with pytest.raises(ContractError, match=r"block_size=32 does not match the pool's block_size=4"):
            roots.number(replace(IDENTITY, block_size=32))
    with pytest.raises(ContractError, match="block_size=4 does not match the pool's block_size=8"):
        RootTable(IDENTITY, 8)


def test_something_else_is_no_identity():
    with pytest.raises(ContractError, match="identity must be a CacheIdentity, got 'model'"):
        RootTable(IDENTITY, IDENTITY.block_size).number("model")
