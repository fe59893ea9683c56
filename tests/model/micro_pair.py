"""The native runtime and the reference model, driven as one: every answer, event and observable state must be the same.

Which free block is taken is each runtime's choice: block numbers are compared one to one, not as numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from residentkv import BlockManager, CacheIdentity, MemorySink, PoolOptions, StepPlan
from residentkv.contract.arbiter import RELAX_LEAST_VALUE, ArbiterPolicy
from residentkv.contract.claim import ClaimSpec, Duration
from residentkv.contract.errors import ContractError
from residentkv.contract.events import Event, event_problem
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.request import Status
from residentkv.microruntime.runtime import MicroRuntime

LOST = "resident_claim_block_lost_after_release"


class Clock:
    """Nanoseconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@dataclass(frozen=True)
class Size:
    """What both pools are made with."""

    usable: int
    block_size: int
    rows: int = 6
    quota: int | None = None
    max_protected: int | None = None
    policy: ArbiterPolicy = RELAX_LEAST_VALUE


def identity(block_size: int, salt: str = "a") -> CacheIdentity:
    return CacheIdentity("domain", "model", "tokenizer", salt, block_size, "fp32")


class Pair:
    """Looks like one runtime; `native` and `micro` are the two."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.clock = Clock()
        self._sink = MemorySink()
        self._said: list[Event] = []
        quotas = {} if size.quota is None else {"poor": size.quota}
        self.native = BlockManager(
            PoolOptions(
                size.usable,
                block_size=size.block_size,
                max_requests=size.rows,
                max_protected_blocks=size.max_protected,
                quota_blocks=quotas,
            ),
            identity=identity(size.block_size),
            sinks=[self._sink],
            clock=self.clock,
            policy=size.policy,
            run_id="pair",
            hash_seed=1,
        )
        self.micro = MicroRuntime(
            MicroOptions(
                size.usable,
                identity(size.block_size),
                policy=size.policy,
                run_id="pair",
                max_requests=size.rows,
                max_protected_blocks=size.max_protected,
                quota_blocks=quotas,
            ),
            self.clock,
            self._said.append,
        )
        self.claim_ids: dict[str, None] = {}  # ever accepted
        self.blocks: dict[int, int] = {}  # native block of each block of the model that somebody holds or claims
        self.history: list[Event] = []

    # --- calls ---

    def submit(self, spec: ClaimSpec) -> Any:
        return self._both(lambda: self.native.claims.submit(spec), lambda: self.micro.claims.submit(spec))

    def renew(self, claim_id: str, duration: Duration | None, revision: int) -> Any:
        return self._both(
            lambda: self.native.claims.renew(claim_id, duration, revision=revision),
            lambda: self.micro.claims.renew(claim_id, duration, revision=revision),
        )

    def on_claim(self, name: str, claim_id: str) -> Any:
        return self._both(
            lambda: getattr(self.native.claims, name)(claim_id), lambda: getattr(self.micro.claims, name)(claim_id)
        )

    def expire_due(self) -> Any:
        return self._both(self.native.claims.expire_due, self.micro.claims.expire_due)

    def admit(self, request_id: str, tokens: Sequence[int], **options: Any) -> Any:
        return self._both(
            lambda: self.native.admit(request_id, tokens, **options),
            lambda: self.micro.admit(request_id, tokens, **options),
        )

    def step(self, fed: Mapping[str, Sequence[int]]) -> Any:
        return self._both(lambda: self._native_step(fed), lambda: self.micro.step(fed))

    def _native_step(self, fed: Mapping[str, Sequence[int]]) -> Any:
        views = [self.native.pool.request(request_id) for request_id in fed]
        unknown: list[int] = []
        for view, tokens in zip(views, fed.values(), strict=True):
            unknown += tokens[max(0, view.num_known_tokens - view.num_planned_tokens) :]
        plan = self.native.plan_step([view.row for view in views], [len(tokens) for tokens in fed.values()])
        if not isinstance(plan, StepPlan):
            return plan
        self.native.commit_step(plan.step_id, token_ids=unknown)
        return None

    def on_request(self, name: str, request_id: str) -> Any:
        return self._both(lambda: getattr(self.native, name)(request_id), lambda: getattr(self.micro, name)(request_id))

    def invalidate(self, blocks: Sequence[int], cause: str) -> Any:
        """`blocks` are the model's."""
        same = [self.blocks[block] for block in blocks]
        return self._both(
            lambda: self.native.invalidate(same, cause=cause), lambda: self.micro.invalidate(blocks, cause=cause)
        )

    def reset(self) -> Any:
        return self._both(self.native.reset, self.micro.reset)

    # --- comparison ---

    def _both(self, on_native: Callable[[], Any], on_micro: Callable[[], Any]) -> Any:
        self.clock.now_ns += 1  # no two operations at one time, as on any real clock
        answer, expected = outcome(on_native), outcome(on_micro)
        self._compare_events()
        assert answer == expected, f"native: {answer}\nmicro:  {expected}"
        self._compare_state()
        return expected

    def _compare_events(self) -> None:
        self.native.events.flush()
        seen, expected = list(self._sink.events)[len(self.history) :], self._said[len(self.history) :]
        for events in (seen, expected):
            assert [event["event_sequence"] for event in events] == list(
                range(len(self.history) + 1, len(self.history) + 1 + len(events))
            )
        seen, expected = in_order(seen), in_order(expected)
        told, modelled = [story(event) for event in seen], [story(event) for event in expected]
        assert told == modelled, f"native: {told}\nmicro:  {modelled}"
        for real, model in zip(seen, expected, strict=True):
            differences = {
                name: (value, model[name])
                for name, value in real.items()
                if value is not None and name not in ("event_sequence", "physical_block_id") and value != model[name]
            }
            assert not differences, f"{real['event']} {real['event_sequence']}, native and micro: {differences}"
            assert event_problem(model) is None
            if real["event"] == "resident_claim_accepted":
                self.claim_ids[real["claim_id"]] = None
        self.history += seen

    def _compare_state(self) -> None:
        self.native.pool.check_invariants()
        self.micro.ledger.pool.check()
        counts, facts = self.native.pool.counts(), self.micro.ledger.facts()
        pool = self.micro.ledger.pool
        assert (counts.free, counts.cached, counts.resident_idle) == (
            pool.num_free,
            pool.num_cached,
            pool.num_resident_idle,
        )
        assert (counts.protected, counts.reserved, counts.num_allocations) == (
            len(facts.protected),
            len(facts.reserved),
            pool.num_allocations,
        )
        assert pool.num_cached == len(facts.cached), "what may become a victim is not what the sets say"
        for claim_id in self.claim_ids:
            assert self.native.claims.state(claim_id) is self.micro.claims.state(claim_id)
        same: list[tuple[int, int]] = []
        for view, claim in zip(self.native.claims, self.micro.claims, strict=True):
            fields = claim.as_fields()
            assert (view.claim_id, view.revision, view.lifecycle_generation, view.predicate_true) == (
                claim.claim_id,
                claim.revision,
                claim.lifecycle_generation,
                claim.spec.predicate.holds(claim.surviving()),
            )
            assert (view.surviving_blocks, view.leading_blocks) == (
                fields["resident_blocks_materialized"],
                fields["leading_blocks_survived"],
            )
            blocks = self.native.claims.blocks(view.claim_id).tolist()
            assert [block >= 0 for block in blocks] == [node.is_computed for node in claim.nodes]
            same += [(node.block, block) for node, block in zip(claim.nodes, blocks, strict=True) if node.block]
        assert list(self.native.pool.request_ids()) == list(self.micro.ledger.requests)
        for request in self.micro.ledger.requests.values():
            seen = self.native.pool.request(request.request_id)
            assert seen.status == ("running" if request.status is Status.RUNNING else "preempted")
            assert (seen.row, seen.num_written_tokens, seen.peak_blocks) == (
                request.row,
                request.num_computed,
                request.peak_blocks,
            )
            assert seen.token_ids.tolist() == list(request.tokens)
            same += zip(request.blocks, seen.block_ids.tolist(), strict=True)
        self.blocks = dict(same)
        assert len(self.blocks) == len(set(same)) == len(set(self.blocks.values())), "blocks are shared differently"


def outcome(call: Callable[[], Any]) -> Any:
    """What a call answers; a contract error counts as an answer, whatever its words."""
    try:
        answer = call()
    except ContractError as error:
        return type(error).__name__
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


def in_order(events: list[Event]) -> list[Event]:
    """The events, but where several branches of content are dropped at once it does not matter which comes first."""
    dropped = [i for i, event in enumerate(events) if event["event"] == LOST and event["request_id"] is None]
    if dropped:
        first, last = dropped[0], dropped[-1] + 1
        events[first:last] = sorted(events[first:last], key=lambda e: (-e["logical_block_position"], e["claim_id"]))
    return events


def story(event: Event) -> tuple[Any, ...]:
    """What happened, in short."""
    return event["event"], event["claim_id"], event["request_id"], event.get("logical_block_position")
