import pytest

from residentkv.contract.arbiter import ArbiterPolicy
from residentkv.contract.claim import ClaimAction, ClaimState, ProtectionMode
from residentkv.contract.decision import Admitted, Deferred, Refused, Rejected
from residentkv.contract.errors import ClaimStateError
from residentkv.microruntime.host_tier import Fault
from tests.unit.microruntime.scenario import Scenario

OFFLOADABLE = ProtectionMode.OFFLOADABLE
POLICY = ArbiterPolicy("offload", (ClaimAction.OFFLOAD,))


def offloaded(**options: object) -> Scenario:
    """A claim of two blocks that a request of four pushed to the host."""
    scenario = Scenario(4, host_blocks=8, policy=POLICY)
    scenario.claim("c", "ab", OFFLOADABLE, **options)
    scenario.serve("seed", "ab")
    scenario.story()
    assert isinstance(scenario.serve("r", "wxyz"), Admitted)
    return scenario


def restoring(**options: object) -> Scenario:
    scenario = offloaded(**options)
    assert isinstance(scenario.admit("reuse", "ab."), Deferred)
    scenario.story()
    return scenario


def test_offload_makes_room_and_restore_brings_it_back_before_reuse():
    scenario = offloaded()
    assert scenario.story() == ["offloaded", "admitted", "future_reuse_admitted"]
    assert (scenario.tier.num_copied_out, len(scenario.tier.copies)) == (2, 2)
    assert isinstance(scenario.admit("reuse", "ab."), Deferred)
    assert scenario.story() == ["restore_required", "deferred"]
    scenario.tier.complete(scenario.claims.get("c"))
    assert scenario.admit("reuse", "ab.").num_cached_tokens == 4
    names = [name for name in scenario.story() if name != "allocation_victim_selected"]
    assert names == ["restored", "admitted", "future_reuse_admitted", "reuse_after_restore"]
    assert scenario.claims.state("c") is ClaimState.MATERIALIZED
    assert not scenario.tier.copies


def test_a_transient_fault_leaves_the_claim_offloaded():
    scenario = restoring()
    scenario.tier.fail(scenario.claims.get("c"), Fault.TRANSIENT)
    assert scenario.events[0]["claim_scoped_outcome_type"] == "refusal"
    assert scenario.story() == ["restoration_failed"]
    assert scenario.claims.state("c") is ClaimState.OFFLOADED
    refused = scenario.admit("reuse", "ab.")
    assert isinstance(refused, Refused)
    assert refused.record.blocking_claim_ids == ("c",)
    assert refused.record.feasibility.value == "infeasible_restore_claimed_kv"
    assert isinstance(scenario.admit("reuse", "ab."), Deferred)  # once; then the restore is tried again


@pytest.mark.parametrize(
    ("actions", "outcome", "state"),
    [
        (None, "demotion", ClaimState.DEMOTED),
        ((ClaimAction.OFFLOAD, ClaimAction.EXPIRE), "expiry", ClaimState.EXPIRED),
        ((ClaimAction.OFFLOAD,), "harm", ClaimState.HARMED),
    ],
)
def test_a_permanent_fault_ends_the_claim_as_it_permits(actions, outcome: str, state: ClaimState):
    scenario = restoring(allowed_actions=actions)
    scenario.tier.fail(scenario.claims.get("c"), Fault.PERMANENT)
    failed = scenario.events[0]
    assert (failed["claim_scoped_outcome_type"], failed["outcome_claim_id"]) == (outcome, "c")
    assert scenario.story() == ["restoration_failed", state.value]
    assert scenario.claims.state("c") is state
    assert scenario.admit("reuse", "ab.").record.blocking_claim_ids == ("c",)
    assert scenario.admit("reuse", "ab.").num_cached_tokens == 0  # later: an ordinary miss


def test_a_failure_names_no_other_claim():
    scenario = restoring()
    scenario.claim("other", "a", OFFLOADABLE)
    scenario.story()
    scenario.tier.fail(scenario.claims.get("c"), Fault.PERMANENT)
    assert {event["claim_id"] for event in scenario.events} == {"c"}
    assert scenario.claims.state("other") is ClaimState.ACCEPTED


def test_without_room_no_copy_starts():
    scenario = offloaded()
    scenario.claim("hard", "wxyz")
    scenario.story()
    assert isinstance(scenario.admit("reuse", "ab."), Refused)
    assert "restore_required" not in scenario.story()


def test_a_block_that_another_claim_protects_stays():
    scenario = Scenario(4, host_blocks=8)
    scenario.claim("c", "ab", OFFLOADABLE)
    scenario.claim("hard", "a")
    scenario.serve("seed", "ab")
    scenario.tier.offload(scenario.claims.get("c"))
    assert [node.is_computed for node in scenario.claims.get("c").nodes] == [True, False]


def test_what_can_not_leave_is_not_offloaded():
    scenario = Scenario(4, host_blocks=8)
    scenario.claim("c", "ab", OFFLOADABLE)
    scenario.claim("hard", "ab")
    scenario.serve("seed", "ab")
    with pytest.raises(ClaimStateError):
        scenario.tier.offload(scenario.claims.get("c"))


def test_without_a_host_nothing_is_offloadable():
    assert isinstance(Scenario(4).claim("c", "ab", OFFLOADABLE), Rejected)
