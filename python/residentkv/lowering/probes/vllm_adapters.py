"""Three ways to put claims beside vLLM's KVCacheManager, as runtimes that the litmus suite can drive.

`ObservedRuntime` changes nothing and joins vLLM's events with claims. `HeldRuntime` holds a reference on claimed
blocks and decides before vLLM allocates. `UnpinnedRuntime` gives the references up through `BlockPool.unpin_blocks`,
and demotes a claim when vLLM calls back that its first block is being taken.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from residentkv.contract.claim import ClaimEvent, ClaimSpec, ClaimState
from residentkv.contract.decision import ConflictRecord
from residentkv.contract.errors import ContractError, InvariantError
from residentkv.contract.protocol import Capability, FutureReuse, RuntimeOptions
from residentkv.contract.reference import Node, chain, decide
from residentkv.lowering.probes.ledger import Ledger, LedgerClaim, request_of
from residentkv.lowering.probes.vllm_pool import Served, VllmPool


class ObservedRuntime:
    """VLLM as it is. Claims protect nothing; their losses are reported."""

    capabilities: frozenset[Capability] = frozenset({Capability.BEST_EFFORT_CLAIMS, Capability.WRITE_NO_ADMIT})

    def __init__(self, provenance: Mapping[str, str], options: RuntimeOptions) -> None:
        self._identity = options.identity
        self._clock = options.clock
        self._pool = VllmPool(options.usable_blocks, options.identity.block_size)
        self._ledger = Ledger(options, provenance)
        self._node_of: dict[Any, Node] = {}  # by vLLM's hash

    def submit(self, spec: ClaimSpec) -> None:
        """Ask for a claim."""
        self._ledger.submit(spec)

    def serve(self, request_id: str, tokens: Sequence[int], future_reuse: FutureReuse) -> None:
        """Let vLLM compute and free a request, and report what that did."""
        decision = decide(self._ledger.pool(), request_of(request_id, self._identity, tokens))
        if self._admits(request_id, decision.outcome, decision.record):
            self._run(request_id, tokens, future_reuse, decision.record)

    def demote(self, claim_id: str) -> None:
        """End the claim's protection by demotion."""
        self._end(claim_id, ClaimEvent.DEMOTE)

    def expire_due(self) -> None:
        """Expire every claim whose deadline the clock has passed."""
        for claim_id, claim in self._ledger.claims.items():
            limit = claim.spec.duration.nanoseconds if claim.spec.duration is not None else None
            if claim.is_live and limit is not None and self._clock() >= claim.accepted_at_ns + limit:
                self._end(claim_id, ClaimEvent.EXPIRE)

    def release(self, claim_id: str) -> None:
        """End the claim at its owner's wish."""
        self._end(claim_id, ClaimEvent.RELEASE)

    def invalidate(self, claim_id: str, position: int, cause: str) -> None:
        """Declare bad the content of a claim's block."""
        claim = self._ledger.claims[claim_id]
        self._pool.forget(claim.present[position])
        self._ledger.invalidated(claim, position, cause)

    def close(self) -> None:
        """Complete the trace."""
        self._ledger.close()

    def _admits(self, request_id: str, outcome: str, record: ConflictRecord) -> bool:
        """Whether vLLM is asked at all. It always is: the backend decides."""
        del request_id, outcome, record
        return True

    def _run(self, request_id: str, tokens: Sequence[int], reuse: FutureReuse, record: ConflictRecord) -> None:
        served = self._pool.begin(request_id, tokens, cached_for_reuse=reuse is FutureReuse.ADMIT)
        if served is None:
            raise InvariantError(f"vLLM has no room for {request_id}, which fits")
        nodes = chain(self._identity, tuple(tokens), len(served.hashes))
        self._node_of.update(zip(served.hashes, nodes, strict=True))
        for block_hash in served.removed:
            self._ledger.removed(request_id, self._node_of[block_hash])
        if record.blocking_claim_ids:  # what was in the way gave way while vLLM allocated
            record = decide(self._ledger.pool(), request_of(request_id, self._identity, tokens)).record
        size = self._identity.block_size
        reused = served.num_cached_tokens // size
        new = -(-len(tokens) // size) - reused
        self._ledger.served(request_id, record, reuse, reused, new, len(served.removed))
        self._keep(self._stored(request_id, served))
        self._pool.finish()

    def _stored(self, request_id: str, served: Served) -> list[LedgerClaim]:
        blocks = {self._node_of[block_hash]: block for block_hash, block in served.stored.items()}
        return self._ledger.stored(request_id, blocks)

    def _keep(self, changed: Sequence[LedgerClaim]) -> None:
        """Do what claims with new blocks are owed; nothing here."""
        del changed

    def _end(self, claim_id: str, how: ClaimEvent) -> None:
        claim = self._ledger.claims.get(claim_id)
        if claim is None:
            raise ContractError(f"no claim {claim_id!r}")
        self._ledger.end(claim, how)


class HeldRuntime(ObservedRuntime):
    """VLLM with one more reference on every claimed block, and the contract's decision in front of it.

    The references keep claimed blocks out of vLLM's free list; the decision keeps requests that can not run beside them
    from waiting for ever. Neither suffices alone.
    """

    capabilities = frozenset(Capability) - {Capability.SOFT_CLAIMS}

    def __init__(self, provenance: Mapping[str, str], options: RuntimeOptions) -> None:
        super().__init__(provenance, options)
        self._held: dict[str, list[Any]] = {}  # vLLM's blocks that are held, by claim, head first

    def submit(self, spec: ClaimSpec) -> None:
        """Ask for a claim; what is cached of it is held at once."""
        self._keep([self._ledger.submit(spec)])

    def invalidate(self, claim_id: str, position: int, cause: str) -> None:
        """Declare bad the content of a claim's block; a harmed claim holds nothing."""
        super().invalidate(claim_id, position, cause)
        if not self._ledger.claims[claim_id].is_live:
            self._let_go(claim_id)

    def _admits(self, request_id: str, outcome: str, record: ConflictRecord) -> bool:
        if outcome == "admitted":
            return True
        self._ledger.turned_away(outcome, request_id, record)
        return False

    def _keep(self, changed: Sequence[LedgerClaim]) -> None:
        for claim in changed:
            if claim.is_live and claim.spec.mode.is_protecting:
                held = self._held.setdefault(claim.spec.claim_id, [])
                blocks = [claim.present[position] for position in sorted(claim.present)]
                held += self._pool.hold(blocks[len(held) :])

    def _end(self, claim_id: str, how: ClaimEvent) -> None:
        super()._end(claim_id, how)
        self._let_go(claim_id)

    def _let_go(self, claim_id: str) -> None:
        self._pool.let_go(self._held.pop(claim_id, []))


class UnpinnedRuntime(HeldRuntime):
    """Demotable claims as last candidates of vLLM's own free list: taking the first block demotes the claim."""

    def _admits(self, request_id: str, outcome: str, record: ConflictRecord) -> bool:
        del request_id, outcome, record
        return True

    def _keep(self, changed: Sequence[LedgerClaim]) -> None:
        super()._keep(changed)
        for claim in changed:
            blocks = self._held.pop(claim.spec.claim_id, [])
            if blocks:
                self._pool.block_pool.unpin_blocks(list(reversed(blocks)), lambda _, claim=claim: self._taken(claim))

    def _taken(self, claim: LedgerClaim) -> None:
        """VLLM is about to hand a block of the claim to a request; its hash goes after this."""
        if claim.state is ClaimState.MATERIALIZED:
            self._ledger.end(claim, ClaimEvent.DEMOTE)
