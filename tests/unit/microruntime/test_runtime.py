import pytest

from residentkv.contract.claim import ClaimState, ProtectionMode
from residentkv.contract.decision import Accepted, Admitted, Deferred, NeedsRoom, Refused, Rejected
from residentkv.contract.errors import ClaimStateError, ContractError
from tests.unit.microruntime.scenario import Scenario, words

BEST_EFFORT = ProtectionMode.BEST_EFFORT


def test_ordinary_eviction_harms_nobody():
    scenario = Scenario(3)
    scenario.serve("a", "abc")
    scenario.serve("b", "xyz")
    assert scenario.story() == [
        "admitted",
        "future_reuse_admitted",
        *["allocation_victim_selected"] * 3,
        "admitted",
        "future_reuse_admitted",
    ]


def test_a_shared_block_counts_once():
    scenario = Scenario(4)
    assert scenario.claim("one", "abc").protected_resident_blocks == 3
    assert scenario.claim("two", "abd") == Accepted("two", 1, ClaimState.ACCEPTED, protected_resident_blocks=4)


def test_a_bystander_is_not_named():
    """Its blocks are all part of what the request needs itself."""
    scenario = Scenario(4)
    scenario.claim("bystander", "a")
    scenario.claim("large", "xyz")
    refused = scenario.admit("r", "ab")
    assert isinstance(refused, Refused)
    assert refused.record.blocking_claim_ids == ("large",)


def test_demotion_is_said_before_a_block_is_lost():
    scenario = Scenario(2)
    scenario.claim("c", "ab", ProtectionMode.DEMOTABLE)
    scenario.serve("seed", "ab")
    scenario.story()
    assert isinstance(scenario.serve("r", "xy"), Admitted)
    assert scenario.story()[:5] == [
        "demoted",
        "allocation_victim_selected",
        "block_lost_after_release",
        "allocation_victim_selected",
        "block_lost_after_release",
    ]


def test_harm_follows_the_victim_that_did_it_once():
    scenario = Scenario(3)
    scenario.claim("c", "ab", BEST_EFFORT)
    scenario.serve("seed", "ab")
    scenario.story()
    scenario.serve("r", "xyz")
    assert scenario.story()[:3] == ["allocation_victim_selected", "harmed", "allocation_victim_selected"]
    assert scenario.claims.state("c") is ClaimState.HARMED


def test_a_victim_is_never_a_claimed_block():
    scenario = Scenario(4)
    scenario.claim("c", "ab")
    scenario.serve("seed", "ab")
    scenario.serve("r", "xy")
    scenario.serve("s", "zw")
    assert scenario.admit("again", "ab.").num_cached_tokens == 4


def test_a_reservation_is_kept_from_everybody_else_and_drawn_on_once():
    scenario = Scenario(4)
    scenario.claim("c", "ab")
    assert isinstance(scenario.admit("other", "xyz"), Refused)
    assert scenario.admit("filler", "ab").new_blocks == 2
    assert isinstance(scenario.admit("duplicate", "ab"), Admitted)
    assert len(scenario.micro.ledger.facts().reserved) == 0
    scenario.micro.finish("filler")
    assert len(scenario.micro.ledger.facts().reserved) == 2


def test_acceptance_counts_what_a_running_request_was_promised():
    scenario = Scenario(4)
    scenario.admit("r", "a", max_new_tokens=4)
    assert isinstance(scenario.claim("c", "xy"), Rejected)
    assert scenario.story()[-1] == "rejected"


def test_growth_is_refused_by_name_and_room_is_the_callers_to_give():
    scenario = Scenario(4)
    scenario.admit("r", "a")
    scenario.micro.step({"r": words("a")})
    scenario.claim("c", "xyz")
    refused = scenario.micro.step({"r": words("b")})
    assert isinstance(refused, Refused)
    assert refused.record.blocking_claim_ids == ("c",)
    scenario.claims.release("c")
    scenario.admit("s", "xyz")
    needs = scenario.micro.step({"r": words("b")})
    assert needs == NeedsRoom(("r",), 1)
    scenario.micro.preempt("s")
    assert scenario.micro.step({"r": words("b")}) is None


def test_a_write_that_is_not_admitted_frees_nothing_and_is_not_found():
    scenario = Scenario(4)
    scenario.serve("r", "ab", future_reuse=False)
    assert scenario.story() == ["admitted", "future_reuse_denied"]
    assert scenario.admit("again", "ab.").num_cached_tokens == 0


def test_invalidation_harms_who_needed_the_block_and_preempts_who_used_it():
    scenario = Scenario(6)
    scenario.claim("c", "abc")
    scenario.serve("seed", "abc")
    scenario.admit("r", "abx")
    block = scenario.claims.get("c").nodes[0].block
    scenario.story()
    assert scenario.micro.invalidate([block], cause="ecc") == ("r",)
    harmed = scenario.events[0]
    assert (harmed["harm_cause"], harmed["resident_blocks_materialized"], harmed["leading_blocks_survived"]) == (
        "ecc",
        2,
        0,
    )
    assert scenario.story() == ["harmed"]


def test_a_waiting_request_is_told_once():
    scenario = Scenario(3)
    scenario.claim("c", "a")
    scenario.admit("r", "xy")
    scenario.story()
    assert isinstance(scenario.admit("s", "zw"), Deferred)
    assert isinstance(scenario.admit("s", "zw"), Deferred)
    assert scenario.story() == ["deferred"]


@pytest.mark.parametrize(
    "call",
    [
        lambda scenario: scenario.admit("r", ""),
        lambda scenario: scenario.admit("running", "a"),
        lambda scenario: scenario.micro.step({"unknown": (1,)}),
        lambda scenario: scenario.micro.step({"running": (7,)}),
        lambda scenario: scenario.micro.step({"running": ()}),
        lambda scenario: scenario.micro.resume("running"),
        lambda scenario: scenario.micro.advance("running"),
        lambda scenario: scenario.micro.invalidate([9], cause="none"),
        lambda scenario: scenario.claims.release("c"),
        lambda scenario: scenario.claims.state("c"),
    ],
)
def test_a_callers_bug_changes_nothing(call):
    scenario = Scenario(4)
    scenario.admit("running", "a")
    scenario.story()
    with pytest.raises(ContractError):
        call(scenario)
    assert scenario.story() == []


def test_a_claim_id_lives_once_at_a_time():
    scenario = Scenario(4)
    scenario.claim("c", "a")
    with pytest.raises(ClaimStateError):
        scenario.claim("c", "a")
    scenario.claims.release("c")
    assert scenario.claim("c", "a").lifecycle_generation == 2
