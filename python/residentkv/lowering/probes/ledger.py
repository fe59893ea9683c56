"""What an adapter knows about claims beside a runtime that knows none, and the trace it writes.

The ledger is told what the runtime did (stored, removed) and what the adapter decided; it keeps the claims' lives by
the one table of `contract.claim` and writes the events of contract.md section 6 with where they come from.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from residentkv.contract.claim import ClaimEvent, ClaimSpec, ClaimState, advance
from residentkv.contract.decision import ArbiterAction, ConflictRecord
from residentkv.contract.errors import ContractError
from residentkv.contract.events import make_event
from residentkv.contract.identity import CacheIdentity, request_token_map_id, reusable_object_id
from residentkv.contract.protocol import FutureReuse, RuntimeOptions
from residentkv.contract.reference import Node, ReferencePool, ReferenceRequest, accept, footprint


@dataclass(slots=True)
class LedgerClaim:
    """One claim. `present` maps the positions whose blocks are there to their physical blocks."""

    spec: ClaimSpec
    nodes: list[Node]
    fixed: dict[str, Any]
    state: ClaimState = ClaimState.SUBMITTED
    accepted_at_ns: int = 0
    present: dict[int, int] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Accepted and not ended."""
        return self.state in (ClaimState.ACCEPTED, ClaimState.MATERIALIZED)

    @property
    def leading(self) -> int:
        """How many leading blocks survive."""
        return next((i for i in range(len(self.nodes)) if i not in self.present), len(self.nodes))

    def as_fields(self) -> dict[str, Any]:
        """Every claim field as of now."""
        if not self.is_live and not self.state.is_final:
            return self.fixed
        return {
            **self.fixed,
            "lifecycle_generation": 1,
            "resident_blocks_materialized": len(self.present),
            "leading_blocks_survived": self.leading,
            "predicate_materialized": self.spec.predicate.holds(self.present),
        }


class Ledger:
    """Claims, indexed blocks and the trace of one run.

    Parameters
    ----------
    provenance : written into every event (`lowering.verification.PROVENANCE`).
    """

    def __init__(self, options: RuntimeOptions, provenance: Mapping[str, str]) -> None:
        self._options = options
        self._provenance = dict(provenance)
        self._file = options.trace_path.open("w", encoding="utf-8")
        self._sequence = 0
        self.claims: dict[str, LedgerClaim] = {}
        self.indexed: dict[Node, int] = {}

    def pool(self) -> ReferencePool:
        """The facts a decision rests on; no request runs while another one is decided."""
        live = tuple(claim.spec for claim in self.claims.values() if claim.is_live)
        return ReferencePool(self._options.usable_blocks, claims=live, indexed=dict(self.indexed))

    def submit(self, spec: ClaimSpec) -> LedgerClaim:
        """Accept or reject by contract.md section 2. One life a claim id."""
        if spec.claim_id in self.claims:
            raise ContractError(f"claim {spec.claim_id!r} was submitted before")
        claim = LedgerClaim(spec, footprint(spec), _fixed_fields(spec))
        self.claims[spec.claim_id] = claim
        self._claim_event("resident_claim_submitted", claim)
        answer = accept(self.pool(), spec)
        if not answer.accepted:
            claim.state = advance(claim.state, ClaimEvent.REJECT)
            numbers = {"protected_blocks": answer.protected_blocks, "usable_blocks": self._options.usable_blocks}
            self._claim_event("resident_claim_rejected", claim, reject_reason="capacity", reject_numbers=numbers)
            return claim
        claim.state = advance(claim.state, ClaimEvent.ACCEPT)
        claim.accepted_at_ns = self._options.clock()
        self._claim_event("resident_claim_accepted", claim, claim_registration="pre_registered")
        self._materialize(claim, None)
        return claim

    def stored(self, request_id: str, blocks: Mapping[Node, int]) -> list[LedgerClaim]:
        """Note content that can be found from now on; answers the live claims that it belongs to."""
        self.indexed.update(blocks)
        changed = [
            claim for claim in self.claims.values() if claim.is_live and not blocks.keys().isdisjoint(claim.nodes)
        ]
        for claim in changed:
            self._materialize(claim, request_id)
        return changed

    def removed(self, request_id: str, node: Node) -> None:
        """Note a block that was evicted for a request, and what that does to claims."""
        block = self.indexed.pop(node)
        named = [
            claim for claim in self.claims.values() if node in claim.nodes and claim.state is not ClaimState.REJECTED
        ]
        holder = next((claim for claim in named if claim.is_live), None)
        self._event(
            "allocation_victim_selected",
            request_id=request_id,
            claim_id=None if holder is None else holder.spec.claim_id,
            physical_block_id=block,
            logical_block_position=len(node.extra_keys) - 1,
            is_protected_resident=any(claim.is_live and claim.spec.mode.is_protecting for claim in named),
            victim_reason="unclaimed_lru" if holder is None else "best_effort_lru",
        )
        for claim in named:
            position = claim.nodes.index(node)
            if claim.present.pop(position, None) is None:
                continue
            if claim.is_live:
                self._harm_if_broken(claim, request_id, "evicted", block, position)
            elif holder is None and claim.state is not ClaimState.HARMED:
                self._claim_event(
                    "resident_claim_block_lost_after_release",
                    claim,
                    request_id=request_id,
                    physical_block_id=block,
                    logical_block_position=position,
                )

    def invalidated(self, claim: LedgerClaim, position: int, cause: str) -> None:
        """Note that the block at `position` is bad: it and what follows can not be found any more."""
        for node in [
            node
            for node in self.indexed
            if node.tokens[: len(claim.nodes[position].tokens)] == claim.nodes[position].tokens
        ]:
            del self.indexed[node]
        block = claim.present.pop(position)
        self._harm_if_broken(claim, None, cause, block, position)

    def end(self, claim: LedgerClaim, how: ClaimEvent) -> None:
        """End a claim by demotion, expiry or release. The event comes before anything it permits."""
        claim.state = advance(claim.state, how)
        self._claim_event(f"resident_claim_{claim.state.value}", claim)

    def served(
        self, request_id: str, record: ConflictRecord, reuse: FutureReuse, reused: int, new: int, victims: int
    ) -> None:
        """Note that a request ran."""
        is_reusable = reuse is FutureReuse.ADMIT
        action = ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT
        if victims:
            action = ArbiterAction.SERVE_ACTIVE_EVICT_RESIDENT
        if not is_reusable:
            action = ArbiterAction.SERVE_ACTIVE_NO_ADMIT
        said = {
            "future_reuse_requested": is_reusable,
            "future_reuse_admitted": is_reusable,
            "arbiter_action": action.value,
        }
        fields = {**record.as_fields(), **said}
        self._event("active_request_admitted", request_id=request_id, reused_blocks=reused, new_blocks=new, **fields)
        self._event("future_reuse_admitted" if is_reusable else "future_reuse_denied", request_id=request_id)

    def turned_away(self, outcome: str, request_id: str, record: ConflictRecord) -> None:
        """Note a refusal or a deferral, and the claims it preserved."""
        self._event(f"active_request_{outcome}", request_id=request_id, **record.as_fields())
        for claim_id in record.blocking_claim_ids:
            if self.claims[claim_id].state is ClaimState.MATERIALIZED:
                self._claim_event("resident_claim_preserved", self.claims[claim_id], request_id=request_id)

    def close(self) -> None:
        """Complete the trace."""
        self._file.close()

    def _materialize(self, claim: LedgerClaim, request_id: str | None) -> None:
        for position, node in enumerate(claim.nodes):
            if node in self.indexed and position not in claim.present:
                claim.present[position] = self.indexed[node]
                place = {"physical_block_id": self.indexed[node], "logical_block_position": position}
                self._claim_event("resident_block_materialized", claim, request_id=request_id, **place)
        if claim.state is ClaimState.ACCEPTED and claim.spec.predicate.holds(claim.present):
            claim.state = advance(claim.state, ClaimEvent.MATERIALIZE)
            self._claim_event("resident_claim_materialized", claim, request_id=request_id)

    def _harm_if_broken(
        self, claim: LedgerClaim, request_id: str | None, cause: str, block: int, position: int
    ) -> None:
        if claim.state is ClaimState.MATERIALIZED and not claim.spec.predicate.holds(claim.present):
            claim.state = advance(claim.state, ClaimEvent.HARM)
            self._claim_event(
                "resident_claim_harmed",
                claim,
                request_id=request_id,
                harm_cause=cause,
                predicate_before=True,
                predicate_after=False,
                physical_block_id=block,
                logical_block_position=position,
            )

    def _claim_event(self, name: str, claim: LedgerClaim, **values: Any) -> None:
        self._event(name, **claim.as_fields(), **values)

    def _event(self, name: str, **values: Any) -> None:
        options = self._options
        stamp = {
            "event_sequence": self._sequence,
            "timestamp_ns": options.clock(),
            "run_id": options.run_id,
            "policy": options.policy,
            "usable_blocks": options.usable_blocks,
        }
        self._sequence += 1
        self._file.write(json.dumps({**make_event(name, {**stamp, **values}), **self._provenance}) + "\n")


def request_of(request_id: str, identity: CacheIdentity, tokens: Sequence[int]) -> ReferenceRequest:
    """A request that asks to be admitted, for `contract.reference.decide`."""
    return ReferenceRequest(request_id, identity, tuple(tokens), peak_blocks=-(-len(tokens) // identity.block_size))


def _fixed_fields(spec: ClaimSpec) -> dict[str, Any]:
    identity, footprint_blocks = spec.cache_identity, spec.num_footprint_blocks
    return {
        "claim_id": spec.claim_id,
        "prefix_id": reusable_object_id(identity, spec.tokens, spec.predicate.predicate_blocks, spec.extra_keys),
        "reusable_object_id": reusable_object_id(identity, spec.tokens, footprint_blocks, spec.extra_keys),
        "request_token_map_id": request_token_map_id(identity, spec.tokens),
        "cache_identity": identity.as_fields(),
        "predicate_id": f"{spec.claim_id}/{spec.predicate}",
        "materialization_predicate": str(spec.predicate),
        "protection_mode": spec.mode.value,
        "resident_blocks_required": footprint_blocks,
    }
