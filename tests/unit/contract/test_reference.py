"""The oracle, checked by hand on cases small enough to count on paper. Blocks have two tokens."""

from dataclasses import replace

import pytest

from residentkv.contract.arbiter import RelaxOrder
from residentkv.contract.claim import ClaimSpec, Duration, ProtectionMode
from residentkv.contract.decision import ArbiterAction, Feasibility
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import ContiguousRange, LeadingPrefix
from residentkv.contract.reference import ReferencePool, ReferenceRequest, accept, chain, decide

IDENTITY = CacheIdentity("domain", "model", "tokenizer", "salt", 2, "fp16")
OTHER = replace(IDENTITY, salt_namespace="other")


def words(text):
    """Two tokens per letter, so a letter is a block; a dot is half a block."""
    return tuple(token for letter in text for token in ((ord(letter),) * (1 if letter == "." else 2)))


def nodes(text, identity=IDENTITY):
    return chain(identity, words(text), len(text))


def claim(claim_id, text, mode=ProtectionMode.HARD_PROTECTED, **changes):
    duration = Duration(steps=1) if mode is ProtectionMode.EXPIRING else None
    return ClaimSpec(
        claim_id, "tenant", IDENTITY, words(text), LeadingPrefix(len(text)), mode=mode, duration=duration, **changes
    )


def request(request_id, text, peak=None, **facts):
    tokens = words(text)
    return ReferenceRequest(request_id, IDENTITY, tokens, peak or -(-len(tokens) // 2), **facts)


def indexed(*texts):
    """Every block of the texts, each node once, from block 100 on."""
    all_nodes = dict.fromkeys(node for text in texts for node in nodes(text))
    return {node: 100 + i for i, node in enumerate(all_nodes)}


def numbers(decision):
    record = decision.record
    return (
        record.free_blocks_before_allocate,
        record.capacity_shortfall_blocks,
        record.protected_resident_blocks,
        record.resident_plus_active_blocks,
    )


class TestCanonicalCase:
    """60 claimed resident blocks, an active prefill of 70: refused below 130 usable blocks, served from there on."""

    RESIDENT = tuple(range(120))
    ACTIVE = tuple(range(1000, 1140))

    @pytest.fixture
    def pool(self):
        spec = ClaimSpec("resident", "tenant", IDENTITY, self.RESIDENT, LeadingPrefix(60))
        return ReferencePool(
            80, claims=(spec,), indexed={node: i for i, node in enumerate(chain(IDENTITY, self.RESIDENT, 60))}
        )

    def test_refused_with_the_papers_numbers(self, pool):
        decision = decide(pool, ReferenceRequest("active", IDENTITY, self.ACTIVE, 70))
        assert decision.outcome == "refused"
        assert numbers(decision) == (20, 50, 60, 130)
        assert decision.blocking == (("resident", 60),)
        assert decision.record.sufficient_claim_ids == ("resident",)
        assert decision.record.feasibility is Feasibility.INFEASIBLE_PRESERVE_RESIDENT_AND_ACTIVE
        assert decision.record.arbiter_action is ArbiterAction.REFUSE_ACTIVE

    @pytest.mark.parametrize(("usable", "outcome"), [(80, "refused"), (129, "refused"), (130, "admitted")])
    def test_from_130_all_is_served(self, pool, usable, outcome):
        active = ReferenceRequest("active", IDENTITY, self.ACTIVE, 70)
        assert decide(replace(pool, usable_blocks=usable), active).outcome == outcome

    def test_feasible_means_both_fit_exactly(self, pool):
        active = ReferenceRequest("active", IDENTITY, self.ACTIVE, 70)
        admitted = decide(replace(pool, usable_blocks=130), active).record
        refused = decide(replace(pool, usable_blocks=129), active).record
        assert (admitted.feasibility, admitted.future_reuse_admitted) == (Feasibility.FEASIBLE, True)
        assert (refused.feasibility, refused.future_reuse_admitted) == (
            Feasibility.INFEASIBLE_PRESERVE_RESIDENT_AND_ACTIVE,
            False,
        )

    def test_as_large_as_the_pool_is_for_claims_to_refuse(self, pool):
        active = ReferenceRequest("active", IDENTITY, self.ACTIVE, 70)
        beside_a_claim = decide(replace(pool, usable_blocks=70), active)
        assert beside_a_claim.record.arbiter_action is ArbiterAction.REFUSE_ACTIVE
        assert decide(ReferencePool(70), active).outcome == "admitted"

    def test_larger_than_the_pool_blames_no_claim(self, pool):
        decision = decide(replace(pool, usable_blocks=69), ReferenceRequest("active", IDENTITY, self.ACTIVE, 70))
        assert (decision.outcome, decision.blocking) == ("refused", ())
        assert decision.record.arbiter_action is ArbiterAction.CAPACITY_REQUIRED
        assert decision.record.sufficient_claim_ids == ()


class TestProtected:
    def test_a_shared_node_counts_once(self):
        assert len(ReferencePool(9, claims=(claim("a", "abc"), claim("b", "abd"))).protected) == 4

    def test_an_identity_shares_nothing(self):
        theirs = replace(claim("b", "abc"), cache_identity=OTHER)
        assert len(ReferencePool(9, claims=(claim("a", "abc"), theirs)).protected) == 6

    def test_extra_keys_make_other_nodes(self):
        assert (
            len(ReferencePool(9, claims=(claim("a", "ab"), claim("b", "ab", extra_keys=(None, b"x")))).protected) == 3
        )

    @pytest.mark.parametrize("mode", ProtectionMode)
    def test_only_protecting_modes_count(self, mode):
        pool = ReferencePool(9, claims=(claim("a", "abc", mode),))
        assert len(pool.protected) == (3 if mode.is_protecting else 0)
        assert decide(pool, request("r", "x")).record.protected_resident_claims == (
            ("a",) if mode.is_protecting else ()
        )

    def test_an_offloaded_claim_protects_nothing(self):
        pool = ReferencePool(9, claims=(claim("a", "abc"), claim("b", "ab")), offloaded=frozenset({"a"}))
        assert len(pool.protected) == 2

    def test_a_range_protects_what_leads_to_it(self):
        spec = ClaimSpec("a", "tenant", IDENTITY, words("abcde"), ContiguousRange(2, 2))
        assert ReferencePool(9, claims=(spec,)).protected == set(nodes("abcd"))


class TestPhysical:
    """free + cached + active + resident_idle = usable, with every kind of block present."""

    POOL = ReferencePool(
        20,
        requests=(
            request("r", "abxy", blocks=(100, 101, 7, 8)),  # holds the claimed a and b, computes x and y
            request("dup", "x", blocks=(9,)),  # computes x as well: a block of its own
            request("filler", "pq", blocks=(10, 11), fills=frozenset({0})),
            request("gone", "k", peak=3),  # preempted
        ),
        claims=(claim("a", "abc"), claim("planned", "p"), claim("soft", "s", ProtectionMode.SOFT_PRIORITY)),
        indexed=indexed("abc", "s", "u"),
    )

    def test_counts(self):
        pool = self.POOL
        active = pool.active_blocks
        assert active == {100, 101, 7, 8, 9, 10, 11}
        assert pool.resident_idle == {nodes("abc")[2]}
        assert pool.cached == {nodes("s")[0], nodes("u")[0]}
        assert pool.free == 10
        assert pool.free + len(pool.cached) + len(active) + len(pool.resident_idle) == pool.usable_blocks

    def test_a_filled_node_is_not_reserved(self):
        assert self.POOL.reserved == set()
        unfilled = replace(self.POOL, requests=self.POOL.requests[:2])
        assert unfilled.reserved == {nodes("p")[0]}

    def test_held_tells_nodes_from_blocks_of_ones_own(self):
        held = self.POOL.held
        assert {nodes("ab")[0], nodes("ab")[1], nodes("p")[0]} <= held
        assert len(held) == 7
        assert nodes("abx")[2] not in held  # not committed: nobody can find it

    def test_a_block_two_forks_share_is_one(self):
        pool = ReferencePool(9, requests=(request("r", "a.", blocks=(1, 2)), request("child", "a.", blocks=(1, 2))))
        assert len(pool.held) == len(pool.active_blocks) == 2


class TestAvailable:
    def test_reserved_room_is_not_available_to_others(self):
        pool = ReferencePool(5, claims=(claim("a", "abc"),))
        assert pool.available(request("r", "x")) == 2
        assert pool.available(request("r", "ab")) == 4  # fills two of the three

    def test_a_second_request_pays_for_its_duplicate(self):
        filler = request("r", "ab", blocks=(1, 2), fills=frozenset({0, 1}))
        pool = ReferencePool(5, requests=(filler,), claims=(claim("a", "abc"),))
        decision = decide(pool, request("s", "ab"))
        assert (decision.new_blocks, decision.record.free_blocks_before_allocate) == (2, 2)

    def test_reused_cached_blocks_are_not_room(self):
        pool = ReferencePool(5, indexed=indexed("abc"))
        decision = decide(pool, request("r", "abx"))
        assert (decision.num_cached_blocks, decision.new_blocks) == (2, 1)
        assert decision.record.free_blocks_before_allocate == 2 + 3 - 2

    def test_what_is_reused_need_not_be_taken(self):
        pool = ReferencePool(3, indexed=indexed("ab"))
        assert decide(pool, request("r", "abx")).outcome == "admitted"

    def test_one_token_is_always_computed(self):
        pool = ReferencePool(5, indexed=indexed("abc"))
        assert decide(pool, request("r", "abc")).num_cached_blocks == 2
        assert decide(pool, request("r", "abc.")).num_cached_blocks == 3

    def test_what_is_detached_is_neither_found_nor_filled(self):
        pool = ReferencePool(8, claims=(claim("a", "abc"),), indexed=indexed("abc"), detached=frozenset(nodes("abc")))
        decision = decide(pool, request("r", "abcd"))
        assert (decision.num_cached_blocks, decision.new_blocks) == (0, 4)
        assert decision.record.resident_plus_active_blocks == 3 + 4


class TestDeferred:
    POOL = ReferencePool(
        8,
        requests=(request("running", "uvw", blocks=(1, 2, 3)),),
        claims=(claim("a", "ab"), claim("b", "cd")),
        indexed=indexed("ab"),
    )

    def test_fits_once_the_running_request_ends(self):
        decision = decide(self.POOL, request("r", "xyz"))
        assert decision.outcome == "deferred"
        assert numbers(decision) == (1, 2, 4, 10)
        assert decision.blocking == (("a", 2), ("b", 2))
        assert decision.record.feasibility is Feasibility.FEASIBLE
        assert decision.record.arbiter_action is ArbiterAction.DEFER_ACTIVE
        assert decide(replace(self.POOL, requests=()), request("r", "xyz")).outcome == "admitted"

    def test_claims_whose_blocks_are_in_use_are_not_in_the_way(self):
        pool = replace(
            self.POOL,
            usable_blocks=5,
            claims=self.POOL.claims[:1],
            requests=(request("running", "abu", blocks=(100, 101, 3)),),
        )
        assert decide(pool, request("r", "xyz")).blocking == ()

    def test_what_the_request_itself_reuses_or_fills_is_not_in_the_way(self):
        pool = replace(self.POOL, usable_blocks=9)
        assert decide(pool, request("r", "abxyz")).blocking == (("b", 2),)
        assert decide(pool, request("r", "cxyz")).blocking == (("a", 2), ("b", 1))


class TestBlockingOrder:
    CLAIMS = (
        claim("one", "a"),
        claim("three", "bcd"),
        claim("soft", "xyz", ProtectionMode.SOFT_PRIORITY),
        claim("two", "ef"),
    )
    POOL = ReferencePool(10, claims=(*CLAIMS, claim("also-two", "gh")))

    def test_by_blocks_then_by_acceptance(self):
        decision = decide(self.POOL, request("r", "uvwkl"))
        assert decision.blocking == (("three", 3), ("two", 2), ("also-two", 2), ("one", 1))

    def test_a_claim_inside_the_request_is_no_bystander_but_no_blocker_either(self):
        decision = decide(self.POOL, request("r", "bcduvw"))
        assert [claim_id for claim_id, _ in decision.blocking] == ["two", "also-two", "one"]


class TestSufficient:
    def test_a_shared_block_is_not_freed_by_one_of_its_claims(self):
        pool = ReferencePool(6, claims=(claim("a", "abc"), claim("b", "abc")))
        assert decide(pool, request("r", "uvwx")).record.sufficient_claim_ids == ("a", "b")

    def test_drops_what_is_not_needed_once_it_fits(self):
        claims = (claim("large", "abcd", predicted_value=5.0), claim("small", "ef", predicted_value=1.0))
        pool = ReferencePool(10, claims=claims)
        active = request("r", "uvwxyz")
        assert decide(pool, active).record.sufficient_claim_ids == ("small",)
        larger = request("r", "uvwxyzk")
        assert decide(pool, larger).record.sufficient_claim_ids == ("large",)
        assert decide(pool, active, RelaxOrder.MOST_BLOCKS).record.sufficient_claim_ids == ("large",)

    def test_drops_in_reverse_whatever_is_not_needed(self):
        values = {"one": 1.0, "two": 2.0, "three": 3.0}
        claims = [
            claim(name, text, predicted_value=values[name])
            for name, text in (("one", "a"), ("two", "bc"), ("three", "def"))
        ]
        pool = ReferencePool(8, claims=tuple(claims))
        assert decide(pool, request("r", "uvwxyzk")).record.sufficient_claim_ids == ("two", "three")

    def test_claims_without_a_prediction_give_way_last(self):
        claims = (claim("unknown", "abcd"), claim("cheap", "ef", predicted_value=100.0))
        pool = ReferencePool(10, claims=claims)
        assert decide(pool, request("r", "uvwxyz")).record.sufficient_claim_ids == ("cheap",)

    def test_none_if_running_requests_are_in_the_way(self):
        running = request("running", "uvwk", blocks=(1, 2, 3, 4))
        pool = ReferencePool(6, requests=(running,), claims=(claim("a", "a"),))
        decision = decide(pool, request("r", "xyz"))
        assert decision.outcome == "deferred"
        assert decision.blocking == (("a", 1),)
        assert decision.record.sufficient_claim_ids == ()


class TestAccept:
    def test_capacity_of_an_empty_pool(self):
        assert accept(ReferencePool(3), claim("a", "abc")).accepted
        assert not accept(ReferencePool(2), claim("a", "abc")).accepted

    def test_counts_the_peak_of_every_admitted_request(self):
        running = request("r", "uv", peak=5, blocks=(1, 2))
        answer = accept(ReferencePool(7, requests=(running,)), claim("a", "abc"))
        assert (answer.accepted, answer.largest_union_blocks, answer.protected_union_held_blocks) == (False, 8, 5)
        assert accept(ReferencePool(8, requests=(running,)), claim("a", "abc")).accepted

    def test_counts_preempted_requests(self):
        gone = request("r", "uv", peak=5)
        assert not accept(ReferencePool(7, requests=(gone,)), claim("a", "abc")).accepted

    def test_counts_what_all_requests_hold(self):
        both = (request("r", "uv", blocks=(1, 2)), request("s", "wx", blocks=(3, 4)))
        assert not accept(ReferencePool(6, requests=both), claim("a", "abc")).accepted
        assert accept(ReferencePool(7, requests=both), claim("a", "abc")).accepted

    def test_what_a_request_already_computes_for_the_claim_counts_once(self):
        running = request("r", "abx", blocks=(1, 2, 3))
        answer = accept(ReferencePool(4, requests=(running,)), claim("a", "abc"))
        assert (answer.accepted, answer.protected_union_held_blocks, answer.largest_union_blocks) == (True, 4, 4)

    def test_a_second_computation_of_it_is_a_duplicate(self):
        both = (request("r", "ab", blocks=(1, 2)), request("s", "ab", blocks=(3, 4)))
        assert accept(ReferencePool(9, requests=both), claim("a", "ab")).protected_union_held_blocks == 4

    def test_soft_claims_need_no_room(self):
        assert accept(ReferencePool(1), claim("a", "abc", ProtectionMode.SOFT_PRIORITY)).accepted

    def test_materialized_at_once_if_the_predicate_holds(self):
        assert accept(ReferencePool(4, indexed=indexed("abc")), claim("a", "abc")).materialized
        assert not accept(ReferencePool(4, indexed=indexed("ab")), claim("a", "abc")).materialized
