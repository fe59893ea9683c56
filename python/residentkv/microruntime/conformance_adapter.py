"""The reference model as `residentkv conformance` drives it."""

import json
from collections.abc import Sequence
from typing import Final

from residentkv.contract.arbiter import ArbiterPolicy
from residentkv.contract.claim import ClaimSpec
from residentkv.contract.decision import Admitted
from residentkv.contract.errors import InvariantError
from residentkv.contract.events import Event
from residentkv.contract.protocol import Capability, ConformanceRuntime, FutureReuse, RuntimeOptions
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.runtime import MicroRuntime


def create(options: RuntimeOptions) -> ConformanceRuntime:
    """Make a fresh model (a `contract.protocol.RuntimeFactory`)."""
    return ConformingMicro(options)


class ConformingMicro:
    """Drives one MicroRuntime and writes its trace."""

    capabilities: Final = frozenset(Capability)

    def __init__(self, options: RuntimeOptions) -> None:
        self._file = options.trace_path.open("w", encoding="utf-8")
        self._micro = MicroRuntime(
            MicroOptions(
                usable_blocks=options.usable_blocks,
                identity=options.identity,
                # The suite ends claims itself: a conflict it did not ask to resolve is refused or deferred.
                policy=ArbiterPolicy(name=options.policy, actions=()),
                run_id=options.run_id,
            ),
            options.clock,
            self._write,
        )

    def submit(self, spec: ClaimSpec) -> None:
        """Ask for a claim."""
        self._micro.claims.submit(spec)

    def serve(self, request_id: str, tokens: Sequence[int], future_reuse: FutureReuse) -> None:
        """Admit a request if there is room, compute what is not cached in one step, finish it."""
        answer = self._micro.admit(request_id, tokens, future_reuse=future_reuse is FutureReuse.ADMIT)
        if isinstance(answer, Admitted):
            if self._micro.step({request_id: tokens[answer.num_cached_tokens :]}) is not None:
                raise InvariantError(f"{request_id} was admitted with its whole prompt, but has no room to compute it")
            self._micro.finish(request_id)

    def demote(self, claim_id: str) -> None:
        """End the claim's protection by demotion."""
        self._micro.claims.demote(claim_id)

    def expire_due(self) -> None:
        """Expire every claim whose deadline the clock has passed."""
        self._micro.claims.expire_due()

    def release(self, claim_id: str) -> None:
        """End the claim at its owner's wish."""
        self._micro.claims.release(claim_id)

    def invalidate(self, claim_id: str, position: int, cause: str) -> None:
        """Declare bad the block at `position` of the claim."""
        block = self._micro.claims.get(claim_id).nodes[position].block
        if block is not None:
            self._micro.invalidate([block], cause=cause)

    def close(self) -> None:
        """Close the trace."""
        self._file.close()

    def _write(self, event: Event) -> None:
        self._file.write(json.dumps(event) + "\n")
