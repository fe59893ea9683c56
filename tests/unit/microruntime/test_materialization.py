import pytest

from residentkv.microruntime.materialization import POLICIES, PREFIX_BLOCKS, VALUES, Kept, compare, run


def test_fair_sharing_keeps_more_blocks_and_no_value():
    fair, whole = run("fair_share"), run("whole_prefixes_by_value")
    assert fair.surviving_blocks > whole.surviving_blocks
    assert fair.threshold_value == 0
    assert fair.materialized == ()
    assert whole.threshold_value == VALUES["p1"] + VALUES["p2"]


@pytest.mark.parametrize("kept", compare(), ids=lambda kept: kept.policy)
def test_value_is_of_whole_prefixes_and_every_other_loss_was_said(kept: Kept):
    whole = [prefix for prefix, blocks in kept.surviving_by_prefix.items() if blocks == PREFIX_BLOCKS]
    assert list(kept.materialized) == whole
    assert set(kept.harmed) == VALUES.keys() - set(whole)
    assert kept.pressure_served


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("budget", [0, 7, 75, 120])
def test_a_policy_gives_no_more_than_there_is(policy: str, budget: int):
    shares = POLICIES[policy](budget)
    assert list(shares) == list(VALUES)
    assert sum(shares.values()) <= budget
    assert all(0 <= share <= PREFIX_BLOCKS for share in shares.values())
