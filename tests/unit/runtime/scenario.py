"""A small pool with hands: what most tests of the runtime drive. Blocks of 4 tokens, time stands still unless moved."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from residentkv import (
    Accepted,
    Admitted,
    BlockManager,
    CacheIdentity,
    ClaimSpec,
    Deferred,
    LeadingPrefix,
    MemorySink,
    PoolOptions,
    Refused,
    Rejected,
    ResidentKVError,
    StepPlan,
)
from residentkv.contract.events import Event, event_problem

BLOCK = 4
IDENTITY = CacheIdentity("domain", "model", "tokenizer", "salt", BLOCK, "fp32")


class Clock:
    """Nanoseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_ns = 1000

    def __call__(self) -> int:
        return self.now_ns


def tokens(seed: int, num_blocks: int, extra: int = 0) -> NDArray[np.int32]:
    """Token ids of `num_blocks` blocks and `extra` tokens more; different seeds share no block."""
    return np.arange(seed * 100_000, seed * 100_000 + num_blocks * BLOCK + extra, dtype=np.int32)


class Scenario:
    """A manager of `usable` blocks with a memory sink."""

    def __init__(
        self, usable: int, *, sinks: tuple[Any, ...] | None = None, policy: Any = None, **options: Any
    ) -> None:
        self.clock = Clock()
        self.sink = MemorySink()
        self.manager = BlockManager(
            PoolOptions(usable, block_size=BLOCK, **options),
            identity=IDENTITY,
            sinks=(self.sink,) if sinks is None else sinks,
            clock=self.clock,
            run_id="run",
            hash_seed=7,
            **({} if policy is None else {"policy": policy}),
        )
        self.claims = self.manager.claims
        self.pool = self.manager.pool

    def spec(self, claim_id: str, ids: NDArray[np.int32], num_blocks: int | None = None, **fields: Any) -> ClaimSpec:
        """A claim of the leading `num_blocks` of `ids`; None takes them all."""
        blocks = len(ids) // BLOCK if num_blocks is None else num_blocks
        fields = {"owner_scope": "owner", "cache_identity": IDENTITY, "predicate": LeadingPrefix(blocks), **fields}
        return ClaimSpec(claim_id=claim_id, tokens=ids, **fields)

    def claim(
        self, claim_id: str, ids: NDArray[np.int32], num_blocks: int | None = None, **fields: Any
    ) -> Accepted | Rejected:
        """Submit such a claim."""
        return self.claims.submit(self.spec(claim_id, ids, num_blocks, **fields))

    def compute(self, answer: Admitted, num_tokens: int) -> None:
        """Plan and commit the next tokens of one request."""
        plan = self.manager.plan_step([answer.row], [num_tokens])
        assert isinstance(plan, StepPlan)
        self.manager.commit_step(plan.step_id)

    def prefill(self, request_id: str, ids: NDArray[np.int32], **options: Any) -> Admitted:
        """Admit a request and compute its prompt."""
        answer = self.manager.admit(request_id, ids, **options)
        assert isinstance(answer, Admitted)
        self.compute(answer, len(ids) - answer.num_cached_tokens)
        return answer

    def serve(self, request_id: str, ids: NDArray[np.int32], **options: Any) -> Admitted | Deferred | Refused:
        """Ask for a request; if it is admitted, compute its prompt and finish it."""
        answer = self.manager.admit(request_id, ids, **options)
        if isinstance(answer, Admitted):
            self.compute(answer, len(ids) - answer.num_cached_tokens)
            self.manager.finish(request_id)
        return answer

    def events(self, *names: str) -> list[Event]:
        """Events so far; with names, only those."""
        return list(self.sink.named(*names) if names else self.sink.events)

    def story(self) -> list[str]:
        """Names of all events so far, without per-block and reuse events."""
        left_out = ("resident_block_materialized", "future_reuse_admitted", "allocation_victim_selected")
        return [event["event"] for event in self.sink.events if event["event"] not in left_out]

    def state(self) -> tuple[object, ...]:
        """Everything a failed call must leave alone."""
        counts = self.pool.counts()
        numbers = tuple(getattr(counts, name) for name in dir(counts) if not name.startswith("_"))
        requests = tuple(
            (view.request_id, view.row, view.status, view.num_planned_tokens, view.block_ids.tobytes())
            for view in map(self.pool.request, self.pool.request_ids())
        )
        return numbers, self.pool.block_states().tobytes(), requests, tuple(self.claims)

    @property
    def is_closed(self) -> bool:
        """Whether the manager serves nothing any more."""
        try:
            self.pool.counts()
        except ResidentKVError:
            return True
        return False

    def check(self) -> None:
        """The bookkeeping is sound, and every event is complete and in order."""
        self.pool.check_invariants()
        events = self.sink.events
        assert [event_problem(event) for event in events if event_problem(event)] == []
        sequences = [event["event_sequence"] for event in events]
        assert sequences == sorted(set(sequences))
