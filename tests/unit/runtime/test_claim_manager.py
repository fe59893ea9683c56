from collections.abc import Callable
from dataclasses import replace

import pytest

from residentkv import (
    PRESERVE_CLAIMS,
    Accepted,
    ClaimAction,
    ClaimState,
    ClaimStateError,
    ContiguousRange,
    ContractError,
    Duration,
    LeadingPrefix,
    ProtectionMode,
    Refused,
    Rejected,
    RejectReason,
    Renewal,
    RenewStatus,
)
from tests.unit.runtime.scenario import BLOCK, IDENTITY, Scenario, tokens

Make = Callable[..., Scenario]


# --- submit ---


def test_acceptance_reserves_and_evicts_nothing(make: Make):
    scenario = make(8)
    scenario.serve("a", tokens(9, 8))
    answer = scenario.claim("c", tokens(1, 3))
    assert answer == Accepted("c", 1, ClaimState.ACCEPTED, 3)
    counts = scenario.pool.counts()
    assert (counts.cached, counts.reserved, counts.num_evictions) == (8, 3, 0)


def test_a_cached_prefix_is_materialized_at_once(make: Make):
    scenario = make(8)
    scenario.serve("a", tokens(1, 3))
    assert scenario.claim("c", tokens(1, 3)) == Accepted("c", 1, ClaimState.MATERIALIZED, 3)


def test_generations_count_acceptances(make: Make):
    scenario = make(4)
    for generation in (1, 2):
        assert scenario.claim("c", tokens(1, 3)).lifecycle_generation == generation
        scenario.claims.release("c")
    assert isinstance(scenario.claim("c", tokens(1, 5)), Rejected)
    assert scenario.claim("c", tokens(1, 3)).lifecycle_generation == 3


def test_more_than_the_pool_is_rejected_for_capacity_with_the_numbers(make: Make):
    scenario = make(8)
    answer = scenario.claim("c", tokens(1, 9))
    assert (answer.claim_id, answer.reason) == ("c", RejectReason.CAPACITY)
    assert answer.numbers == {
        "usable_blocks": 8,
        "protected_blocks_with_claim": 9,
        "protected_and_held_blocks_with_claim": 9,
        "protected_and_largest_request_blocks_with_claim": 9,
    }


def test_admitted_requests_keep_what_they_were_promised(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(1, 2), max_new_tokens=4 * BLOCK)  # peak 6
    answer = scenario.claim("c", tokens(2, 3))
    assert answer.reason is RejectReason.CAPACITY
    assert answer.numbers["protected_and_largest_request_blocks_with_claim"] == 9
    assert isinstance(scenario.claim("c", tokens(2, 2)), Accepted)


def test_the_owners_quota_counts_its_protecting_footprints(make: Make):
    scenario = make(16, quota_blocks={"owner": 5})
    scenario.claim("a", tokens(1, 3))
    answer = scenario.claim("b", tokens(2, 3))
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.QUOTA
    assert answer.numbers == {"owner_scope": "owner", "quota_blocks": 5, "charged_blocks": 3, "footprint_blocks": 3}
    assert isinstance(scenario.claim("b", tokens(2, 3), owner_scope="other"), Accepted)
    assert isinstance(scenario.claim("soft", tokens(3, 9), mode=ProtectionMode.SOFT_PRIORITY), Accepted)
    scenario.claims.release("a")
    assert isinstance(scenario.claim("d", tokens(4, 5)), Accepted)


def test_a_shared_prefix_is_charged_to_each_owner_claim(make: Make):
    scenario = make(16, quota_blocks={"owner": 5})
    scenario.claim("a", tokens(1, 3))
    assert scenario.claim("b", tokens(1, 3)).reason is RejectReason.QUOTA


def test_soft_claims_that_end_leave_the_charge_alone(make: Make):
    scenario = make(16, quota_blocks={"owner": 5})
    for claim_id in ("a", "b"):
        scenario.claim(claim_id, tokens(1, 3), mode=ProtectionMode.BEST_EFFORT)
    scenario.claims.release("a")
    scenario.claims.release("b")
    assert isinstance(scenario.claim("c", tokens(1, 5)), Accepted)


def test_the_pools_budget_limits_all_claims_together(make: Make):
    scenario = make(16, max_protected_blocks=5)
    scenario.claim("a", tokens(1, 3))
    answer = scenario.claim("b", tokens(2, 3))
    assert answer.reason is RejectReason.QUOTA
    assert answer.numbers == {"protected_blocks_with_claim": 6, "max_protected_blocks": 5}
    assert isinstance(scenario.claim("b", tokens(1, 5)), Accepted)  # three of them are protected already


def test_a_foreign_block_size_is_rejected_for_identity(make: Make):
    scenario = make(16)
    identity = replace(IDENTITY, block_size=2 * BLOCK)
    answer = scenario.claim("c", tokens(1, 4), predicate=LeadingPrefix(2), cache_identity=identity)
    assert answer.reason is RejectReason.IDENTITY
    assert answer.numbers == {"identity_block_size": 8, "pool_block_size": 4}


def test_offloadable_is_rejected_because_there_is_no_tier(make: Make):
    scenario = make(16)
    answer = scenario.claim("c", tokens(1, 4), mode=ProtectionMode.OFFLOADABLE)
    assert answer.reason is RejectReason.UNSUPPORTED_MODE
    assert answer.numbers == {"mode": "offloadable", "tiers": 0}


def test_a_rejection_changes_nothing(make: Make):
    scenario = make(8, quota_blocks={"owner": 6})
    scenario.claim("a", tokens(1, 3))
    before = scenario.state()
    scenario.claim("b", tokens(2, 4))
    scenario.claim("b", tokens(2, 9), owner_scope="other")
    pending = 4  # two submissions, two rejections
    assert scenario.manager.events.num_pending - pending == len(["submitted", "accepted"])
    scenario.manager.events.flush()
    after = scenario.state()
    assert after[1:] == before[1:]


def test_a_live_id_can_not_be_submitted_again(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 3))
    before = scenario.state()
    with pytest.raises(ClaimStateError, match="claim 'c' is live; release it first, or renew it"):
        scenario.claim("c", tokens(2, 3))
    assert scenario.state() == before


def test_submit_takes_a_spec(make: Make):
    with pytest.raises(ContractError, match="submit takes a ClaimSpec, got 'c'"):
        make(8).claims.submit("c")


def test_identities_do_not_share_claimed_blocks(make: Make):
    scenario = make(8)
    scenario.serve("a", tokens(1, 3))
    other = replace(IDENTITY, salt_namespace="tenant-2")
    assert scenario.claim("c", tokens(1, 3), cache_identity=other).state is ClaimState.ACCEPTED
    scenario.serve("b", tokens(1, 3))
    assert scenario.claims.state("c") is ClaimState.ACCEPTED
    scenario.serve("d", tokens(1, 3), identity=other)
    assert scenario.claims.state("c") is ClaimState.MATERIALIZED


def test_extra_keys_belong_to_the_nodes(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2), extra_keys=[b"image", None])
    scenario.serve("plain", tokens(1, 2))
    assert scenario.claims.state("c") is ClaimState.ACCEPTED
    scenario.serve("keyed", tokens(1, 2), extra_keys=[b"image"])
    assert scenario.claims.state("c") is ClaimState.MATERIALIZED


# --- the end of a claim ---


def test_release_makes_blocks_ordinary(make: Make):
    scenario = make(4)
    scenario.claim("c", tokens(1, 3))
    scenario.serve("a", tokens(1, 3))
    assert isinstance(scenario.manager.admit("big", tokens(2, 4)), Refused)
    scenario.claims.release("c")
    assert scenario.claims.state("c") is ClaimState.RELEASED
    scenario.serve("big", tokens(2, 4))
    assert scenario.pool.counts().num_evictions == 3


@pytest.mark.parametrize("verb", ["release", "demote", "get", "blocks"])
def test_unknown_and_ended_claims_are_told_apart(make: Make, verb: str):
    scenario = make(8)
    call = getattr(scenario.claims, verb)
    with pytest.raises(ClaimStateError, match="claim 'c' is unknown: it was never accepted"):
        call("c")
    scenario.claim("c", tokens(1, 9))
    with pytest.raises(ClaimStateError, match="unknown"):
        call("c")
    scenario.claim("c", tokens(1, 3))
    scenario.claims.release("c")
    with pytest.raises(ClaimStateError, match="claim 'c' generation 1 is released; submit it again"):
        call("c")


@pytest.mark.parametrize("mode", [mode for mode in ProtectionMode if mode is not ProtectionMode.OFFLOADABLE])
def test_only_a_claim_that_permits_it_can_be_demoted(make: Make, mode: ProtectionMode):
    scenario = make(8)
    duration = Duration(steps=9) if mode is ProtectionMode.EXPIRING else None
    scenario.claim("c", tokens(1, 3), mode=mode, duration=duration)
    if mode is ProtectionMode.DEMOTABLE:
        scenario.claims.demote("c")
        assert scenario.claims.state("c") is ClaimState.DEMOTED
        return
    before = scenario.state()
    with pytest.raises(ClaimStateError, match=f"is {mode.value} and does not permit demotion"):
        scenario.claims.demote("c")
    assert scenario.state() == before


def test_an_action_the_caller_took_away_is_not_permitted(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.DEMOTABLE, allowed_actions=())
    with pytest.raises(ClaimStateError, match="does not permit demotion"):
        scenario.claims.demote("c")


def test_native_harm_ends_the_claim_here_too(make: Make):
    scenario = make(4)
    scenario.claim("c", tokens(1, 3), mode=ProtectionMode.BEST_EFFORT)
    scenario.serve("a", tokens(1, 3))
    assert "c" in scenario.claims
    scenario.serve("b", tokens(2, 3))
    assert "c" not in scenario.claims
    assert scenario.claims.state("c") is ClaimState.HARMED
    with pytest.raises(ClaimStateError, match="is harmed"):
        scenario.claims.release("c")


# --- deadlines ---


@pytest.mark.parametrize(
    "duration",
    [Duration(nanoseconds=50), Duration(steps=2), Duration(allocations=4), Duration(steps=99, allocations=4)],
)
def test_a_deadline_is_due_when_any_clock_reaches_it(make: Make, duration: Duration):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2), mode=ProtectionMode.EXPIRING, duration=duration)
    scenario.serve("a", tokens(2, 2))
    assert scenario.claims.expire_due() == ()
    scenario.serve("b", tokens(3, 2))
    scenario.clock.now_ns += 50
    assert scenario.claims.expire_due() == ("c",)
    assert scenario.claims.state("c") is ClaimState.EXPIRED
    assert scenario.claims.expire_due() == ()


def test_a_hard_claim_may_have_a_duration(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2), duration=Duration(nanoseconds=1))
    scenario.clock.now_ns += 1
    assert scenario.claims.expire_due() == ("c",)


def test_a_duration_beyond_all_clocks_lasts(make: Make):
    scenario = make(8)
    assert isinstance(scenario.claim("c", tokens(1, 2), duration=Duration(nanoseconds=2**90)), Accepted)
    scenario.serve("a", tokens(2, 2))
    assert scenario.claims.expire_due() == ()


def test_an_overdue_claim_does_not_keep_another_one_out(make: Make):
    scenario = make(8)
    scenario.claim("old", tokens(1, 6), mode=ProtectionMode.EXPIRING, duration=Duration(nanoseconds=10))
    assert isinstance(scenario.claim("new", tokens(2, 6)), Rejected)
    scenario.clock.now_ns += 10
    assert isinstance(scenario.claim("new", tokens(2, 6)), Accepted)
    assert scenario.story()[-3:] == [
        "resident_claim_submitted",
        "resident_claim_expired",
        "resident_claim_accepted",
    ]


def test_an_overdue_claim_ends_even_if_the_new_one_does_not_fit(make: Make):
    scenario = make(8)
    scenario.claim("old", tokens(1, 6), mode=ProtectionMode.EXPIRING, duration=Duration(nanoseconds=10))
    scenario.clock.now_ns += 10
    assert isinstance(scenario.claim("new", tokens(2, 9)), Rejected)
    assert scenario.claims.state("old") is ClaimState.EXPIRED


def test_renewal_moves_the_deadline_from_now(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2), mode=ProtectionMode.EXPIRING, duration=Duration(nanoseconds=10))
    scenario.clock.now_ns += 9
    renewed = scenario.claims.renew("c", Duration(nanoseconds=10), revision=1)
    assert renewed == Renewal("c", 1, RenewStatus.RENEWED)
    assert scenario.claims.get("c").deadline.nanoseconds == scenario.clock.now_ns + 10
    scenario.clock.now_ns += 9
    assert scenario.claims.expire_due() == ()
    scenario.clock.now_ns += 1
    assert scenario.claims.expire_due() == ("c",)


def test_renewal_is_idempotent_by_revision(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2), mode=ProtectionMode.EXPIRING, duration=Duration(steps=1))
    renew = scenario.claims.renew
    assert renew("c", Duration(steps=1), revision=0).status is RenewStatus.UNCHANGED
    assert renew("c", Duration(steps=5), revision=0).status is RenewStatus.CONFLICT
    assert renew("c", Duration(steps=5), revision=3) == Renewal("c", 3, RenewStatus.RENEWED)
    deadline = scenario.claims.get("c").deadline
    scenario.serve("a", tokens(2, 2))
    assert renew("c", Duration(steps=5), revision=3) == Renewal("c", 3, RenewStatus.UNCHANGED)
    assert renew("c", Duration(steps=6), revision=3) == Renewal("c", 3, RenewStatus.CONFLICT)
    assert renew("c", Duration(steps=5), revision=2) == Renewal("c", 3, RenewStatus.STALE)
    assert scenario.claims.get("c").deadline == deadline


def test_renewal_without_a_duration_lasts_until_released(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2), duration=Duration(nanoseconds=10))
    scenario.claims.renew("c", None, revision=1)
    scenario.clock.now_ns += 10**12
    assert scenario.claims.expire_due() == ()
    scenario.serve("a", tokens(2, 2))
    assert "c" in scenario.claims


def test_bad_renewals_change_nothing(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2), mode=ProtectionMode.EXPIRING, duration=Duration(steps=9))
    before = scenario.state()
    with pytest.raises(ContractError, match="is expiring and needs a duration"):
        scenario.claims.renew("c", None, revision=1)
    for revision in (-1, 1.5, True, None):
        with pytest.raises(ContractError, match="revision must be an int >= 0"):
            scenario.claims.renew("c", Duration(steps=1), revision=revision)
    with pytest.raises(ContractError, match="duration must be a Duration or None, got 5"):
        scenario.claims.renew("c", 5, revision=1)
    with pytest.raises(ClaimStateError):
        scenario.claims.renew("other", Duration(steps=1), revision=1)
    assert scenario.state() == before


def test_an_accepted_claim_starts_at_revision_zero_again(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 2), duration=Duration(steps=1))
    scenario.claims.renew("c", Duration(steps=2), revision=7)
    scenario.claims.release("c")
    scenario.claim("c", tokens(1, 2), duration=Duration(steps=1))
    assert scenario.claims.renew("c", Duration(steps=2), revision=1).status is RenewStatus.RENEWED


# --- views ---


def test_a_view_shows_terms_and_survival(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 4), predicate=ContiguousRange(1, 2), footprint_blocks=4)
    answer = scenario.manager.admit("a", tokens(1, 4))
    scenario.compute(answer, 2 * BLOCK)
    view = scenario.claims.get("c")
    assert (view.footprint_blocks, view.surviving_blocks, view.leading_blocks, view.predicate_true) == (4, 2, 2, False)
    assert (view.mode, view.state, view.lifecycle_generation) == (
        ProtectionMode.HARD_PROTECTED,
        ClaimState.ACCEPTED,
        1,
    )
    blocks = scenario.claims.blocks("c")
    assert blocks[:2].tolist() == scenario.pool.request("a").block_ids[:2].tolist()
    assert blocks[2:].tolist() == [-1, -1]
    scenario.compute(answer, BLOCK)
    assert scenario.claims.get("c").state is ClaimState.MATERIALIZED


def test_iteration_lists_live_claims_by_acceptance(make: Make):
    scenario = make(8)
    for i, claim_id in enumerate(("b", "a", "c")):
        scenario.claim(claim_id, tokens(i, 1))
    scenario.claims.release("a")
    assert [view.claim_id for view in scenario.claims] == ["b", "c"]
    assert len(scenario.claims) == 2
    assert "b" in scenario.claims
    assert "a" not in scenario.claims
    assert 5 not in scenario.claims


# --- what-if ---


def test_explain_says_what_admit_would(make: Make):
    scenario = make(8)
    scenario.claim("c", tokens(1, 4))
    scenario.serve("a", tokens(1, 4))
    before = scenario.state()
    fits = scenario.claims.explain(tokens(2, 4))
    refused = scenario.claims.explain(tokens(2, 5))
    too_big = scenario.claims.explain(tokens(2, 9))
    assert scenario.state() == before
    assert (fits.decision, fits.actions, fits.num_evicted_blocks) == ("admitted", (), 0)
    assert fits.record.arbiter_action.value == "serve_active_preserve_resident"
    assert (refused.decision, refused.record.blocking_claim_ids) == ("refused", ("c",))
    assert (too_big.decision, too_big.record.blocking_claim_ids) == ("refused", ())
    assert refused.record == scenario.manager.admit("r", tokens(2, 5)).record
    assert too_big.record == scenario.manager.admit("t", tokens(2, 9)).record


def test_explain_counts_the_bound_and_the_blocks_it_would_evict(make: Make):
    scenario = make(8)
    scenario.serve("a", tokens(1, 6))
    assert scenario.claims.explain(tokens(2, 4)).num_evicted_blocks == 2
    assert scenario.claims.explain(tokens(1, 6)).num_evicted_blocks == 0  # five reused, one of two free ones taken
    grown = scenario.claims.explain(tokens(2, 4), max_new_tokens=5 * BLOCK)
    assert (grown.decision, grown.record.active_live_blocks_required) == ("refused", 9)


def test_explain_says_deferred_when_requests_are_in_the_way(make: Make):
    scenario = make(8)
    scenario.prefill("a", tokens(1, 6))
    explanation = scenario.claims.explain(tokens(2, 4))
    assert (explanation.decision, explanation.record.blocking_claim_ids) == ("deferred", ())
    assert explanation.record.capacity_shortfall_blocks == 2


def test_explain_names_whom_the_arbiter_would_act_on_and_leaves_them(make: Make):
    scenario = make(8)
    for i, value in enumerate((5.0, 1.0, 3.0)):
        scenario.claim(f"c{i}", tokens(i, 2), mode=ProtectionMode.DEMOTABLE, predicted_value=value)
    explanation = scenario.claims.explain(tokens(9, 5))
    assert explanation.decision == "admitted"
    assert [(action.claim_id, action.action) for action in explanation.actions] == [
        ("c1", ClaimAction.DEMOTE),
        ("c2", ClaimAction.DEMOTE),
    ]
    assert len(scenario.claims) == 3
    assert scenario.manager.admit("r", tokens(9, 5)).new_blocks == 5
    assert [view.claim_id for view in scenario.claims] == ["c0"]


def test_explain_ends_overdue_claims_before_it_asks_anybody(make: Make):
    scenario = make(8, policy=PRESERVE_CLAIMS)
    scenario.claim("old", tokens(1, 3), mode=ProtectionMode.EXPIRING, duration=Duration(nanoseconds=10))
    scenario.claim("hard", tokens(2, 3))
    assert scenario.claims.explain(tokens(3, 5)).decision == "refused"
    scenario.clock.now_ns += 10
    explanation = scenario.claims.explain(tokens(3, 5))
    assert explanation.decision == "admitted"
    assert [(action.claim_id, action.action) for action in explanation.actions] == [("old", ClaimAction.EXPIRE)]
    assert scenario.claims.explain(tokens(3, 6)).decision == "refused"
    assert len(scenario.claims) == 2


def test_explain_adds_relaxation_when_overdue_claims_are_not_enough(make: Make):
    scenario = make(8)
    scenario.claim("old", tokens(1, 2), mode=ProtectionMode.EXPIRING, duration=Duration(nanoseconds=10))
    scenario.claim("soft", tokens(2, 2), mode=ProtectionMode.DEMOTABLE)
    scenario.claim("hard", tokens(3, 2))
    scenario.clock.now_ns += 10
    explanation = scenario.claims.explain(tokens(4, 6))
    assert [(action.claim_id, action.action.value) for action in explanation.actions] == [
        ("old", "expire"),
        ("soft", "demote"),
    ]
    assert scenario.claims.explain(tokens(4, 7)).decision == "refused"
    assert scenario.serve("r", tokens(4, 6)).new_blocks == 6
    assert [view.claim_id for view in scenario.claims] == ["hard"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": []}, "tokens must not be empty"),
        ({"tokens": [1.5]}, "must be integers"),
        ({"tokens": [-1]}, "token ids must be >= 0"),
        ({"tokens": [1], "max_new_tokens": -1}, "max_new_tokens must be an int >= 0"),
        ({"tokens": [1], "extra_keys": [5]}, "extra_keys must be a sequence"),
        ({"tokens": [1], "identity": "m"}, "identity must be a CacheIdentity"),
    ],
)
def test_explain_checks_its_arguments(make: Make, arguments: dict[str, object], message: str):
    with pytest.raises(ContractError, match=message):
        make(8).claims.explain(**arguments)


def test_explain_counts_an_overdue_claim_that_may_be_demoted_once(make: Make):
    scenario = make(8)
    fields = {"mode": ProtectionMode.DEMOTABLE, "duration": Duration(nanoseconds=10)}
    scenario.claim("old", tokens(1, 3), predicted_value=1.0, **fields)
    scenario.claim("soft", tokens(2, 3), mode=ProtectionMode.DEMOTABLE, predicted_value=2.0)
    scenario.clock.now_ns += 10
    explanation = scenario.claims.explain(tokens(3, 8))
    assert explanation.decision == "admitted"
    assert [(action.claim_id, action.action.value) for action in explanation.actions] == [
        ("old", "expire"),
        ("soft", "demote"),
    ]
