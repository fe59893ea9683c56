import copy
import pickle

import pytest

from residentkv.contract.errors import ContractError
from residentkv.runtime.pool_options import PoolOptions


@pytest.mark.parametrize("name", ["usable_blocks", "block_size", "max_requests", "max_blocks_per_request"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "8", 2**31])
def test_counts_are_positive_ints(name: str, value: object):
    with pytest.raises(ContractError, match=f"{name} must be an int from 1 to 2147483647, got"):
        PoolOptions(**{"usable_blocks": 8, name: value})


@pytest.mark.parametrize("value", [-1, float("nan")])
def test_limits_on_claims_are_not_negative(value: object):
    with pytest.raises(ContractError, match="max_protected_blocks must be an int from 0 to"):
        PoolOptions(8, max_protected_blocks=value)
    with pytest.raises(ContractError, match=r"quota_blocks\['tenant'\] must be an int from 0 to"):
        PoolOptions(8, quota_blocks={"tenant": value})


def test_the_table_is_as_wide_as_the_pool_up_to_a_limit():
    assert PoolOptions(80).table_width == 80
    assert PoolOptions(1 << 20).table_width == 16384
    assert PoolOptions(80, max_blocks_per_request=12).table_width == 12


def test_without_a_budget_only_capacity_limits_claims():
    assert PoolOptions(80).protected_limit > (1 << 20)
    assert PoolOptions(80, max_protected_blocks=30).protected_limit == 30


def test_the_callers_quotas_are_copied():
    quotas = {"tenant": 5}
    options = PoolOptions(8, quota_blocks=quotas)
    quotas["tenant"] = 500
    assert options.quota_blocks == {"tenant": 5}


def test_options_are_values():
    options = PoolOptions(8, quota_blocks={"tenant": 5})
    assert pickle.loads(pickle.dumps(options)) == options == copy.deepcopy(options)
