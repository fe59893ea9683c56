from collections.abc import Callable
from types import SimpleNamespace

import pytest

from residentkv import ClaimState, ClaimStateError, Duration, InvariantError, ProtectionMode
from residentkv.contract.claim import ClaimAction, ClaimEvent
from residentkv.runtime.claim_table import ClaimTable
from tests.unit.runtime.scenario import Scenario, tokens

Make = Callable[..., Scenario]


@pytest.fixture
def scenario(make: Make) -> Scenario:
    return make(16)


@pytest.fixture
def table(scenario: Scenario) -> ClaimTable:
    return scenario.manager._parts.table


def test_the_arbiter_sees_values_and_what_it_may_do_now(scenario: Scenario, table: ClaimTable):
    scenario.claim("hard", tokens(1, 1), predicted_value=4.0, confidence=0.5)
    scenario.claim("demotable", tokens(2, 1), mode=ProtectionMode.DEMOTABLE)
    scenario.claim("expiring", tokens(3, 1), mode=ProtectionMode.EXPIRING, duration=Duration(steps=1))
    numbers = {claim.claim_id: claim.number for claim in table}
    assert table.values == {numbers["hard"]: 2.0}
    assert table.actions == {numbers["demotable"]: (ClaimAction.DEMOTE,)}
    for claim_id in numbers:
        scenario.claims.release(claim_id)
    assert (table.values, table.actions, table.by_number) == ({}, {}, {})


def test_protecting_ids_follow_acceptance_and_endings(scenario: Scenario, table: ClaimTable):
    scenario.claim("b", tokens(1, 1))
    scenario.claim("soft", tokens(2, 1), mode=ProtectionMode.SOFT_PRIORITY)
    scenario.claim("a", tokens(3, 1))
    assert table.protecting_ids == ("b", "a")
    assert table.protecting_ids is table.protecting_ids  # kept while nothing changes
    scenario.claims.release("b")
    assert table.protecting_ids == ("a",)


def test_owners_are_charged_while_their_claims_live(scenario: Scenario, table: ClaimTable):
    scenario.claim("a", tokens(1, 2))
    scenario.claim("b", tokens(1, 3))
    scenario.claim("soft", tokens(2, 4), mode=ProtectionMode.SOFT_PRIORITY)
    scenario.claim("other", tokens(3, 1), owner_scope="other")
    assert (table.owner_blocks("owner"), table.owner_blocks("other"), table.owner_blocks("nobody")) == (5, 1, 0)
    scenario.claims.release("a")
    assert table.owner_blocks("owner") == 3


def test_an_ending_that_the_life_cycle_forbids_changes_nothing(scenario: Scenario, table: ClaimTable):
    scenario.claim("c", tokens(1, 2))
    claim = table.live("c")
    before = scenario.state()
    with pytest.raises(ClaimStateError, match="harm is not allowed while accepted"):
        table.end(claim, ClaimEvent.HARM, now_ns=0)
    assert scenario.state() == before
    table.end(claim, ClaimEvent.RELEASE, now_ns=0)
    with pytest.raises(ClaimStateError, match="release is not allowed while released"):
        table.end(claim, ClaimEvent.RELEASE, now_ns=0)


def test_a_claim_that_materialized_unnoticed_can_be_ended(scenario: Scenario, table: ClaimTable):
    scenario.claim("c", tokens(1, 2))
    scenario.serve("a", tokens(1, 2))  # the native core knows, the table does not ask until it has to
    assert table.live("c").state is ClaimState.ACCEPTED
    scenario.claims.release("c")
    assert scenario.claims.state("c") is ClaimState.RELEASED
    table.sync()


def test_a_notice_about_an_unknown_claim_is_our_mistake(table: ClaimTable, monkeypatch: pytest.MonkeyPatch):
    notice = SimpleNamespace(claim=99, kind="resident_claim_harmed")
    monkeypatch.setattr(table, "_native", SimpleNamespace(take_claim_notices=lambda: [notice]))
    with pytest.raises(InvariantError, match="names claim 99, which is not live here"):
        table.sync()


def test_past_due_lists_only_timed_claims_in_acceptance_order(scenario: Scenario, table: ClaimTable):
    for claim_id, nanoseconds in (("late", 20), ("first", 5), ("second", 5)):
        scenario.claim(claim_id, tokens(1, 1), duration=Duration(nanoseconds=nanoseconds))
    scenario.claim("forever", tokens(1, 1))
    scenario.claims.renew("first", None, revision=1)
    assert [claim.claim_id for claim in table.past_due(scenario.clock.now_ns + 99)] == ["late", "second"]
    scenario.claims.renew("first", Duration(nanoseconds=6), revision=2)
    now_ns = scenario.clock.now_ns
    assert table.past_due(now_ns + 4) == []
    assert [claim.claim_id for claim in table.past_due(now_ns + 6)] == ["first", "second"]
