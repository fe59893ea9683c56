"""Offload and restore as state: what would be copied, and what follows from it. No byte moves.

One host copy per logical block, shared between claims: the copies are the footprints of the claims that are offloaded
or restoring.
"""

from enum import Enum
from typing import Any, Final

from residentkv.contract.claim import ClaimAction, ClaimEvent, ClaimState
from residentkv.contract.errors import ClaimStateError
from residentkv.microruntime.claim import Claim
from residentkv.microruntime.ledger import Ledger
from residentkv.microruntime.node import Node

GPU: Final = "gpu_kv_cache"
HOST: Final = "host_offload_tier"
_AWAY: Final = (ClaimState.OFFLOADED, ClaimState.RESTORING)


class Fault(Enum):
    """How a restore fails."""

    TRANSIENT = "transient"  # the copy can still be verified: try again
    PERMANENT = "permanent"  # the copy is gone or wrong


class HostTier:
    """The host memory beside a pool.

    Attributes
    ----------
    num_copied_out, num_copied_in : blocks copied so far.
    failed_for : claims whose restore failed while a request waited for it, by request; it is refused once for them.
    """

    def __init__(self, ledger: Ledger, host_blocks: int) -> None:
        self._ledger = ledger
        self._host_blocks = host_blocks
        self.num_copied_out = 0
        self.num_copied_in = 0
        self.failed_for: dict[str, list[Claim]] = {}
        self._waiting: dict[Claim, dict[str, None]] = {}  # requests that wait for a restore, in order

    @property
    def copies(self) -> set[Node]:
        """Logical blocks with a copy on the host."""
        return {node for claim in self._ledger.claims.values() if claim.state in _AWAY for node in claim.nodes}

    def can_offload(self, claim: Claim) -> bool:
        """Whether the claim permits it, is materialized, fits on the host, and a block of its predicate can leave."""
        return (
            ClaimAction.OFFLOAD in claim.spec.permitted_actions
            and claim.state is ClaimState.MATERIALIZED
            and len(self.copies | set(claim.nodes)) <= self._host_blocks
            and any(self._may_leave(node, claim) for node in claim.predicate_nodes)
        )

    def offload(self, claim: Claim) -> None:
        """Move a claim to the host. Blocks that nobody else holds or protects are freed, the others stay for them.

        Raises
        ------
        ClaimStateError : it can not be offloaded now.
        """
        if not self.can_offload(claim):
            raise ClaimStateError(f"claim {claim.claim_id!r} can not be offloaded now")
        self.num_copied_out += len(set(claim.nodes) - self.copies)
        claim.offload_generation += 1
        self._say("resident_claim_offloaded", claim, GPU, HOST)
        claim.move(ClaimEvent.OFFLOAD)
        claim.is_materialized = False
        self._ledger.let_go(claim, claim.nodes)
        self._free(claim)

    def _free(self, claim: Claim) -> None:
        for node in reversed(claim.nodes):  # tail first; a block with a computed child stays, or the child was lost
            node.last_owner = None
            children = [child for child in self._ledger.nodes if child.parent is node and child.is_computed]
            if node.block is not None and not children and self._may_leave(node, claim):
                self._ledger.pool.clear(node.block)

    def _may_leave(self, node: Node, claim: Claim) -> bool:
        facts = self._ledger.facts()
        others = [other for other in facts.naming(node) if other is not claim]
        return facts.is_idle(node) and not others

    # --- restore ---

    def needed_by(self, nodes: tuple[Node, ...]) -> list[Claim]:
        """Return the claims whose copies a request for `nodes` has to wait for, by acceptance."""
        return [
            claim
            for claim in self._ledger.claims.values()
            if claim.state in _AWAY and any(node in nodes and not node.is_computed for node in claim.nodes)
        ]

    def require(self, claim: Claim, request_id: str) -> None:
        """A request reuses an offloaded claim: say so, and begin the restore. REQUIRES: there is room for it."""
        claim.restoration_generation += 1
        self._say(
            "resident_claim_restore_required",
            claim,
            HOST,
            GPU,
            request_id=request_id,
            reuse_requires_restoration=True,
        )
        claim.move(ClaimEvent.BEGIN_RESTORE)
        self._ledger.hold_footprint(claim)

    def wait(self, claim: Claim, request_id: str) -> None:
        """A request waits for a restore that has begun."""
        self._waiting.setdefault(claim, {})[request_id] = None

    def complete(self, claim: Claim) -> None:
        """The copy is back and verified.

        Raises
        ------
        ClaimStateError : the claim is not being restored.
        """
        claim.move(ClaimEvent.RESTORE)
        self._waiting.pop(claim, None)
        missing = [node for node in claim.nodes if not node.is_computed]
        self.num_copied_in += len(missing)
        for node in missing:
            block = self._ledger.take(None)
            self._ledger.pool.fill(block, node, self._ledger.retention_of(node))
            self._ledger.pool.release(block)
        claim.is_materialized = claim.awaits_reuse = True
        tier = {"restored_from_offload_tier": True, "restoration_source": "offload_tier"}
        self._say("resident_claim_restored", claim, HOST, GPU, **tier)

    def fail(self, claim: Claim, fault: Fault) -> None:
        """The copy did not come back: the outcome is this claim's, and nobody else's.

        A transient fault leaves the claim offloaded. After a permanent one it ends by the first it permits of demotion
        and expiry, else by harm.

        Raises
        ------
        ClaimStateError : the claim is not being restored.
        """
        if claim.state is not ClaimState.RESTORING:
            raise ClaimStateError(f"claim {claim.claim_id!r} is {claim.state.value}, not restoring")
        outcome, event = "refusal", ClaimEvent.ABANDON_RESTORE
        if fault is Fault.PERMANENT:
            outcome, event = "harm", ClaimEvent.HARM
            endings = {
                ClaimAction.DEMOTE: ("demotion", ClaimEvent.DEMOTE),
                ClaimAction.EXPIRE: ("expiry", ClaimEvent.EXPIRE),
            }
            permitted = [endings[action] for action in claim.spec.permitted_actions if action in endings]
            outcome, event = permitted[0] if permitted else (outcome, event)
        self._say(
            "resident_claim_restoration_failed",
            claim,
            HOST,
            GPU,
            claim_scoped_outcome_type=outcome,
            outcome_claim_id=claim.claim_id,
        )
        for request_id in self._waiting.pop(claim, {}):
            self.failed_for.setdefault(request_id, []).append(claim)
        if event is not ClaimEvent.ABANDON_RESTORE:
            details = {"harm_cause": "restoration_failed"} if event is ClaimEvent.HARM else {}
            self._ledger.end(claim, event, details)
            return
        claim.move(event)
        self._ledger.let_go(claim, claim.nodes)
        self._free(claim)

    def note_reuse(self, nodes: set[Node], request_id: str) -> None:
        """A request found `nodes`: claims it reuses for the first time after their restore say so."""
        for claim in self._ledger.claims.values():
            if claim.awaits_reuse and nodes.issuperset(claim.predicate_nodes):
                claim.awaits_reuse = False
                self._say(
                    "resident_claim_reuse_after_restore",
                    claim,
                    GPU,
                    GPU,
                    request_id=request_id,
                    predicate_satisfied=True,
                )

    def _say(self, name: str, claim: Claim, source: str, target: str, **more: Any) -> None:
        tiers = {"cache_tier": target, "cache_tier_from": source, "cache_tier_to": target}
        generations = {
            "offload_generation": claim.offload_generation,
            "restoration_generation": claim.restoration_generation,
            "block_count_footprint": len(claim.nodes),
        }
        self._ledger.journal.say(name, {**claim.as_fields(), **tiers, **generations, **more})
