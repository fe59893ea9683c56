"""The native block manager as `residentkv conformance` drives it. Every call goes through the public API."""

import json
from collections.abc import Sequence
from typing import Final

import numpy as np

from residentkv._core import StepPlan
from residentkv.contract.arbiter import ArbiterPolicy
from residentkv.contract.claim import ClaimSpec
from residentkv.contract.decision import Admitted
from residentkv.contract.errors import InvariantError
from residentkv.contract.events import Event
from residentkv.contract.protocol import Capability, ConformanceRuntime, FutureReuse, RuntimeOptions
from residentkv.runtime.block_manager import BlockManager
from residentkv.runtime.pool_options import PoolOptions

_HASH_SEED: Final = 1  # any seed gives the same decisions; a fixed one makes runs repeat byte for byte


def create(options: RuntimeOptions) -> ConformanceRuntime:
    """Make a fresh native runtime (a `contract.protocol.RuntimeFactory`)."""
    return NativeRuntime(options)


class NativeRuntime:
    """Drives one BlockManager as a serving loop without a model would."""

    capabilities: Final = frozenset(Capability) - {Capability.OFFLOADABLE_CLAIMS, Capability.RESTORATION_FAULTS}

    def __init__(self, options: RuntimeOptions) -> None:
        self._trace = _TraceSink(options)
        self._manager = BlockManager(
            PoolOptions(usable_blocks=options.usable_blocks, block_size=options.identity.block_size),
            identity=options.identity,
            sinks=[self._trace],
            clock=options.clock,
            # The suite ends claims itself: a conflict it did not ask to resolve is refused or deferred.
            policy=ArbiterPolicy(name=options.policy, actions=()),
            run_id=options.run_id,
            hash_seed=_HASH_SEED,
        )

    def submit(self, spec: ClaimSpec) -> None:
        """Ask for a claim."""
        self._manager.claims.submit(spec)

    def serve(self, request_id: str, tokens: Sequence[int], future_reuse: FutureReuse) -> None:
        """Admit a request if there is room, compute what is not cached in one step, finish it."""
        answer = self._manager.admit(
            request_id, np.array(tokens, np.int32), future_reuse=future_reuse is FutureReuse.ADMIT
        )
        if isinstance(answer, Admitted):
            num_tokens = len(tokens) - answer.num_cached_tokens
            plan = self._manager.plan_step(np.array([answer.row], np.int32), np.array([num_tokens], np.int32))
            if not isinstance(plan, StepPlan):
                raise InvariantError(f"{request_id} was admitted with its whole prompt, but has no room to compute it")
            self._manager.commit_step(plan.step_id)
            self._manager.finish(request_id)

    def demote(self, claim_id: str) -> None:
        """End the claim's protection by demotion."""
        self._manager.claims.demote(claim_id)

    def expire_due(self) -> None:
        """Expire every claim whose deadline the clock has passed."""
        self._manager.claims.expire_due()

    def release(self, claim_id: str) -> None:
        """End the claim at its owner's wish."""
        self._manager.claims.release(claim_id)

    def invalidate(self, claim_id: str, position: int, cause: str) -> None:
        """Declare bad the block that the trace says is at `position` of the claim."""
        self._manager.events.flush()
        self._manager.invalidate([self._trace.blocks[claim_id, position]], cause=cause)

    def close(self) -> None:
        """Deliver the rest of the events and close the manager with its sink."""
        self._manager.close()


class _TraceSink:
    """Writes the trace, and remembers where each claim's blocks are."""

    def __init__(self, options: RuntimeOptions) -> None:
        self.blocks: dict[tuple[str, int], int] = {}  # (claim id, position) -> physical block
        self._file = options.trace_path.open("w", encoding="utf-8")

    def write(self, event: Event) -> None:
        self._file.write(json.dumps(event) + "\n")
        if event["event"] == "resident_block_materialized":
            self.blocks[event["claim_id"], event["logical_block_position"]] = event["physical_block_id"]

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()
