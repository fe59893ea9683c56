"""The public manager beside `contract/reference.py`, which predicts every decision from the formulas.

Which block is taken and which is evicted is the manager's choice and read from it. Which content is where, who fills
what and which claims stand is kept here, and all that a decision says is computed from that by the reference alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

from residentkv import (
    Accepted,
    Admitted,
    ArbiterPolicy,
    BlockManager,
    CacheIdentity,
    ClaimAction,
    ClaimSpec,
    Deferred,
    MemorySink,
    NeedsRoom,
    PoolOptions,
    Refused,
    RejectReason,
    StepPlan,
)
from residentkv.contract.reference import (
    ReferenceDecision,
    ReferencePool,
    ReferenceRequest,
    accept,
    decide,
    in_policy_order,
)

BLOCK = 2
IDENTITY = CacheIdentity("domain", "model", "tokenizer", "salt", BLOCK, "fp32")
ENDED_BY_THE_RUNTIME = ("resident_claim_demoted", "resident_claim_harmed")


class ReferenceWorld:
    """A manager of `usable` blocks of two tokens, whose steps are planned and committed one at a time."""

    def __init__(self, usable: int, policy: ArbiterPolicy, max_requests: int) -> None:
        self.policy = policy
        self.sink = MemorySink()
        self.manager = BlockManager(
            PoolOptions(usable, block_size=BLOCK, max_requests=max_requests),
            identity=IDENTITY,
            sinks=(self.sink,),
            clock=lambda: 0,
            policy=policy,
            hash_seed=3,
        )
        self.pool = ReferencePool(usable)
        self._limits: dict[str, int] = {}  # prompt + max_new_tokens, by request
        self._num_seen = 0  # events

    def request(self, request_id: str) -> ReferenceRequest:
        return next(request for request in self.pool.requests if request.request_id == request_id)

    @property
    def running(self) -> list[str]:
        return [request.request_id for request in self.pool.requests if request.blocks]

    @property
    def preempted(self) -> list[str]:
        return [request.request_id for request in self.pool.requests if not request.blocks]

    # --- decisions ---

    def admit(self, request_id: str, tokens: Sequence[int], max_new_tokens: int | None) -> bool:
        peak_blocks = -(-(len(tokens) + (max_new_tokens or 0)) // BLOCK)
        asking = ReferenceRequest(request_id, IDENTITY, tuple(tokens), peak_blocks)
        expected = decide(self.pool, asking, self.policy.order)
        self._check_sufficient(asking, expected)
        relaxed = self._relaxed_for(asking, expected)

        explanation = self.manager.claims.explain(tokens, max_new_tokens=max_new_tokens)
        assert explanation.record == replace(expected.record, arbiter_action=explanation.record.arbiter_action)
        assert [planned.claim_id for planned in explanation.actions] == relaxed
        if relaxed:
            self.pool = self.pool.without(set(relaxed))
            expected = decide(self.pool, asking, self.policy.order)
            assert expected.outcome == "admitted"
        assert explanation.decision == expected.outcome
        if expected.outcome == "admitted":
            assert explanation.num_evicted_blocks == max(0, expected.new_blocks - self.pool.free)

        fills = self.pool.filled_by(asking)
        answer = self.manager.admit(request_id, tokens, max_new_tokens=max_new_tokens)
        if isinstance(answer, Admitted):
            assert expected.outcome == "admitted"
            cached = expected.num_cached_blocks * BLOCK
            assert (answer.num_cached_tokens, answer.new_blocks) == (cached, expected.new_blocks)
        else:
            assert isinstance(answer, {"deferred": Deferred, "refused": Refused}[expected.outcome])
            assert answer.record == expected.record
        assert self._absorb_events() == relaxed
        if isinstance(answer, Admitted):
            self._limits[request_id] = len(tokens) + (max_new_tokens or 0)
            self.pool = replace(self.pool, requests=(*self.pool.requests, asking))
            self._occupy(asking, {i for i, node in enumerate(asking.nodes) if node in fills})
        self.settle()
        return isinstance(answer, Admitted)

    def resume(self, request_id: str) -> bool:
        asking = self.request(request_id)
        expected = decide(self.pool, asking, self.policy.order)
        fills = self.pool.filled_by(asking)
        answer = self.manager.resume(request_id)
        relaxed = self._absorb_events()
        if not relaxed:  # resuming acts on claims by the policy too; then only its success is known beforehand
            fits = expected.new_blocks <= expected.record.free_blocks_before_allocate
            assert isinstance(answer, Admitted if fits else Deferred)
        if isinstance(answer, Admitted):
            self._occupy(asking, {i for i, node in enumerate(asking.nodes) if node in fills & self.pool.protected})
        self.settle()
        return isinstance(answer, Admitted)

    def submit(self, claim: ClaimSpec) -> bool:
        expected = accept(self.pool, claim)
        answer = self.manager.claims.submit(claim)
        self._absorb_events()
        if isinstance(answer, Accepted):
            assert expected.accepted
            assert (answer.state.value == "materialized") == expected.materialized
            self.pool = self.pool.with_claim(claim)
            assert answer.protected_resident_blocks == len(self.pool.protected)
        else:
            assert not expected.accepted
            assert answer.reason is RejectReason.CAPACITY
            assert answer.numbers == {
                "usable_blocks": self.pool.usable_blocks,
                "protected_blocks_with_claim": expected.protected_blocks,
                "protected_and_held_blocks_with_claim": expected.protected_union_held_blocks,
                "protected_and_largest_request_blocks_with_claim": expected.largest_union_blocks,
            }
        self.settle()
        return isinstance(answer, Accepted)

    # --- everything else ---

    def run(self, request_id: str, num_tokens: int) -> None:
        """Compute the next tokens of a prompt, or one generated token, if there is room."""
        request, view = self.request(request_id), self.manager.pool.request(request_id)
        left = len(request.tokens) - view.num_written_tokens
        count = min(num_tokens, left) if left else 1
        if left == 0 and len(request.tokens) == self._limits[request_id]:
            return
        plan = self.manager.plan_step([view.row], [count])
        if not isinstance(plan, StepPlan):
            assert isinstance(plan, NeedsRoom | Refused)
            self._absorb_events()
            self.settle()
            return
        self.manager.commit_step(plan.step_id, token_ids=None if left else [9])
        self._absorb_events()
        tokens = request.tokens if left else (*request.tokens, 9)
        written = view.num_written_tokens + count
        indexed = dict(self.pool.indexed)
        for node, block in zip(replace(request, tokens=tokens[:written]).nodes, self._blocks(request_id), strict=False):
            indexed.setdefault(node, block)
        self.pool = replace(self.pool, indexed=indexed)
        self._change(request_id, tokens=tokens, blocks=self._blocks(request_id))
        self.settle()

    def finish(self, request_id: str) -> None:
        self.manager.finish(request_id)
        rest = tuple(request for request in self.pool.requests if request.request_id != request_id)
        self.pool = replace(self.pool, requests=rest)
        self.settle()

    def preempt(self, request_id: str) -> None:
        self.manager.preempt(request_id)
        self._change(request_id, blocks=(), fills=frozenset())
        self.settle()

    def release(self, claim_id: str) -> None:
        self.manager.claims.release(claim_id)
        self._end({claim_id})
        self.settle()

    def settle(self) -> None:
        """The manager counts what the sets contain, and no admitted request lost what it was promised."""
        pool, counts = self.pool, self.manager.pool.counts()
        assert (counts.free, counts.cached) == (pool.free, len(pool.cached))
        assert (counts.active, counts.resident_idle) == (len(pool.active_blocks), len(pool.resident_idle))
        assert (counts.reserved, counts.protected) == (len(pool.reserved), len(pool.protected))
        assert len(pool.reserved) <= pool.free + len(pool.cached)
        for request in pool.requests:
            assert len(pool.protected | pool.peak(request)) <= pool.usable_blocks
        assert {claim.claim_id for claim in self.manager.claims} == {claim.claim_id for claim in pool.claims}
        self.manager.pool.check_invariants()

    # --- details ---

    def _blocks(self, request_id: str) -> tuple[int, ...]:
        return tuple(self.manager.pool.request(request_id).block_ids.tolist())

    def _occupy(self, asking: ReferenceRequest, fills: set[int]) -> None:
        self._change(asking.request_id, blocks=self._blocks(asking.request_id), fills=frozenset(fills))

    def _change(self, request_id: str, **facts: object) -> None:
        changed = (
            replace(request, **facts) if request.request_id == request_id else request for request in self.pool.requests
        )
        self.pool = replace(self.pool, requests=tuple(changed))

    def _end(self, claim_ids: set[str]) -> None:
        """Without these claims, what was filled for them alone is the filler's own."""
        pool = self.pool.without(claim_ids)
        kept = (
            replace(request, fills=frozenset(i for i in request.fills if request.nodes[i] in pool.protected))
            for request in pool.requests
        )
        self.pool = replace(pool, requests=tuple(kept))

    def _absorb_events(self) -> list[str]:
        """Take over evictions and endings that nobody called for; returns the demoted claims in order."""
        events = self.sink.events[self._num_seen :]
        self._num_seen += len(events)
        victims = {event["physical_block_id"] for event in events if event["event"] == "allocation_victim_selected"}
        evicted = {node for node, block in self.pool.indexed.items() if block in victims}
        assert len(evicted) == len(victims)
        assert evicted <= self.pool.cached | self._demoted_nodes(events)
        indexed = {node: block for node, block in self.pool.indexed.items() if node not in evicted}
        self.pool = replace(self.pool, indexed=indexed)
        ended = [event for event in events if event["event"] in ENDED_BY_THE_RUNTIME]
        self._end({event["claim_id"] for event in ended})
        return [event["claim_id"] for event in ended if event["event"] == "resident_claim_demoted"]

    def _demoted_nodes(self, events: Iterable[object]) -> set[object]:
        gone = {event["claim_id"] for event in events if event["event"] == "resident_claim_demoted"}
        return set(self.pool.without(gone).cached) if gone else set()

    def _relaxed_for(self, asking: ReferenceRequest, expected: ReferenceDecision) -> list[str]:
        """Whom the policy demotes: the shortest way through its order, then without what is not needed."""
        if expected.outcome == "admitted" or ClaimAction.DEMOTE not in self.policy.actions:
            return []
        permitted = {c.claim_id for c in self.pool.claims if ClaimAction.DEMOTE in c.permitted_actions}
        order = in_policy_order(self.pool, expected.blocking, self.policy.order)
        chosen: list[str] = []
        for claim_id in (claim_id for claim_id in order if claim_id in permitted):
            if self._fits_without(asking, chosen):
                break
            chosen.append(claim_id)
        if not self._fits_without(asking, chosen):
            return []
        for claim_id in reversed(chosen.copy()):
            if self._fits_without(asking, rest := [other for other in chosen if other != claim_id]):
                chosen = rest
        return chosen

    def _fits_without(self, asking: ReferenceRequest, ended: Sequence[str]) -> bool:
        return decide(self.pool.without(set(ended)), asking).outcome == "admitted"

    def _check_sufficient(self, asking: ReferenceRequest, expected: ReferenceDecision) -> None:
        """By trial of every subset of the claims in the way: the named ones suffice, and nothing less of them does."""
        if expected.outcome == "admitted":
            return
        named = expected.record.sufficient_claim_ids
        blocking = expected.record.blocking_claim_ids
        assert bool(named) == self._fits_without(asking, blocking)
        if named:
            assert self._fits_without(asking, named)
            smaller = (some for size in range(len(named)) for some in combinations(named, size))
            assert not any(self._fits_without(asking, some) for some in smaller)
