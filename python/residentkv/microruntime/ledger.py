"""What happens to blocks and claims, and the events that say so.

One rule orders them: a transition is said before its mechanism changes anything, a loss before what follows from it.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from residentkv.contract.claim import ClaimEvent, ClaimState
from residentkv.contract.errors import InvariantError
from residentkv.microruntime.claim import Claim
from residentkv.microruntime.facts import Facts
from residentkv.microruntime.journal import Journal
from residentkv.microruntime.node import Node, NodeTree
from residentkv.microruntime.pool import Pool, Retention, Taken
from residentkv.microruntime.request import Request

EVICTED: Final = "evicted"  # cause of a harm that an eviction did
_NOTHING: Final[Mapping[str, object]] = {}
_ENDINGS: Final = {
    ClaimEvent.DEMOTE: "resident_claim_demoted",
    ClaimEvent.EXPIRE: "resident_claim_expired",
    ClaimEvent.RELEASE: "resident_claim_released",
    ClaimEvent.HARM: "resident_claim_harmed",
}


class Ledger:
    """The state of a runtime: blocks, nodes, live claims, admitted requests.

    Attributes
    ----------
    claims, requests : by id, in order of acceptance and of admission.
    ended : the last life of every claim id that has ended.
    num_victims : evictions so far.
    """

    def __init__(self, usable_blocks: int, journal: Journal) -> None:
        self.journal = journal
        self.pool = Pool(usable_blocks)
        self.nodes = NodeTree()
        self.claims: dict[str, Claim] = {}
        self.requests: dict[str, Request] = {}
        self.ended: dict[str, Claim] = {}
        self.num_victims = 0

    def facts(self) -> Facts:
        """Return what is so now."""
        return Facts(self.pool, tuple(self.claims.values()), tuple(self.requests.values()))

    # --- blocks ---

    def take(self, request_id: str | None) -> int:
        """Take a block for a request, evicting the oldest victim if none is free."""
        taken = self.pool.take()
        if taken.victim is not None:
            self.num_victims += 1
            self._lost_to_eviction(taken.victim, taken, request_id)
        return taken.block

    def _lost_to_eviction(self, node: Node, taken: Taken, request_id: str | None) -> None:
        naming = self.facts().naming(node)
        place = {"request_id": request_id, "physical_block_id": taken.block, "logical_block_position": node.position}
        if node in self.facts().protected:
            raise InvariantError(f"block {taken.block} is protected and became a victim")
        unnamed = "best_effort_lru" if naming else "unclaimed_lru"
        self.journal.say(
            "allocation_victim_selected",
            place,
            claim_id=naming[-1].claim_id if naming else None,
            is_protected_resident=False,
            victim_reason="soft_priority_lru" if taken.victim_retention is Retention.SOFT else unnamed,
        )
        for claim in naming:
            if claim.is_materialized and not claim.spec.predicate.holds(claim.surviving()):
                self.end(claim, ClaimEvent.HARM, {"harm_cause": EVICTED, **place})
        if not naming:
            self._report_lost(node, taken.block, request_id)

    def _report_lost(self, node: Node, block: int | None, request_id: str | None) -> None:
        """Tell the ended claim that named the node last."""
        if node.last_owner is not None:
            self.journal.say(
                "resident_claim_block_lost_after_release",
                node.last_owner.as_fields(),
                request_id=request_id,
                physical_block_id=block,
                logical_block_position=node.position,
            )
        node.last_owner = None

    def publish(self, request: Request) -> None:
        """Let the request's computed full blocks of known tokens be found."""
        num_full = request.num_computed // request.identity.block_size
        while not request.has_stopped and len(request.published) < num_full:
            position = len(request.published)
            node, own = request.nodes[position], request.blocks[position]
            if node.block is None:
                if not request.wants_reuse and not self.facts().naming(node):
                    request.has_stopped = True  # write no-admit: nobody may find this block, nor what follows it
                    return
                self.materialize(node, own, request.request_id)
            elif self._must_make_way(node.block):
                self.pool.clear(node.block)
                self.pool.fill(own, node, self.retention_of(node))
            else:  # somebody was first: keep one copy
                self.pool.hold(node.block)
                request.blocks[position] = node.block
                self.pool.release(own)
            request.published.append(node)

    def _must_make_way(self, block: int) -> bool:
        """Whether holding this idle copy as well would use up room that is promised to a claim."""
        is_resident = self.pool.retention(block) is Retention.RESIDENT
        return self.pool.is_idle(block) and not is_resident and self.facts().room == 0

    def materialize(self, node: Node, block: int, request_id: str | None) -> None:
        """Say that `block` now holds the content of `node`, which no block held."""
        for request in self.requests.values():
            request.fills.pop(node, None)
        self.pool.fill(block, node, self.retention_of(node))
        naming = self.facts().naming(node)
        if naming:
            self._say_block(naming[-1], node, request_id)
        for claim in naming:
            self.notice_materialized(claim, request_id)

    def _say_block(self, claim: Claim, node: Node, request_id: str | None) -> None:
        self.journal.say(
            "resident_block_materialized",
            claim.as_fields(),
            request_id=request_id,
            physical_block_id=node.block,
            logical_block_position=node.position,
        )

    # --- claims ---

    def accept(self, claim: Claim) -> None:
        """Take in a claim for which there is room. What is there becomes resident, what is not is reserved."""
        if claim.protects:
            for node, request in self.facts().fillers(claim.nodes).items():
                request.fills[node] = None
        self.claims[claim.claim_id] = claim
        self.journal.say("resident_claim_accepted", claim.as_fields(), claim_registration="pre_registered")
        self.hold_footprint(claim)
        for node in claim.nodes:
            if node.is_computed:
                self._say_block(claim, node, None)
        self.notice_materialized(claim, None)

    def hold_footprint(self, claim: Claim) -> None:
        """Let what is computed of the footprint stay as long as the claim's mode says."""
        for node in reversed(claim.nodes):  # tail first: victims go in the order in which they got idle
            node.last_owner = None
            if node.block is not None:
                retention = self.retention_of(node)
                if retention is not self.pool.retention(node.block) or (claim.is_soft and retention is Retention.SOFT):
                    self.pool.retain(node.block, retention)

    def notice_materialized(self, claim: Claim, request_id: str | None) -> None:
        """Say so if the claim's predicate became true."""
        if not claim.is_materialized and claim.spec.predicate.holds(claim.surviving()):
            claim.move(ClaimEvent.MATERIALIZE)
            claim.is_materialized = True
            self.journal.say("resident_claim_materialized", claim.as_fields(), request_id=request_id)

    def end(
        self,
        claim: Claim,
        event: ClaimEvent,
        details: Mapping[str, object] = _NOTHING,
        *,
        surviving: set[int] | None = None,
    ) -> None:
        """End a claim: the event first, with `details`, then protection.

        Raises
        ------
        ClaimStateError : its life cycle does not allow it; nothing changed.
        """
        claim.move(event)
        if event is ClaimEvent.HARM:
            claim.is_materialized = False
            details = {**details, "predicate_before": True, "predicate_after": False}
        self.journal.say(_ENDINGS[event], {**claim.as_fields(surviving), **details})
        del self.claims[claim.claim_id]
        self.ended[claim.claim_id] = claim
        self.let_go(claim, claim.nodes)

    def let_go(self, claim: Claim, nodes: tuple[Node, ...]) -> None:
        """A claim that is not live, or not on the device, protects `nodes` no more."""
        facts = self.facts()
        for request in self.requests.values():
            request.fills = {node: None for node in request.fills if node in facts.protected}
        for node in reversed(nodes):  # tail first, so that a chain is evicted from its tail
            if node.block is not None and self.retention_of(node) is not self.pool.retention(node.block):
                self.pool.retain(node.block, self.retention_of(node))
            if not facts.naming(node):
                is_harmed = claim.state is ClaimState.HARMED  # it was told already
                node.last_owner = claim if node.block is not None and not is_harmed else None

    def retention_of(self, node: Node) -> Retention:
        """Return how long the node's content stays once idle: the strongest that its claims ask for."""
        naming = self.facts().naming(node)
        if any(claim.protects for claim in naming):
            return Retention.RESIDENT
        return Retention.SOFT if any(claim.is_soft for claim in naming) else Retention.CACHED

    # --- faults ---

    def lose(self, bad: set[Node], cause: str) -> None:
        """Drop bad content and all computed from it. Materialized claims that needed it are harmed, others plan anew.

        REQUIRES: no request holds or fills a node of it.
        """
        lost = [node for node in self.nodes if node.descends_from(bad)]
        for claim in tuple(self.claims.values()):
            needed = claim.nodes[: claim.spec.predicate.predicate_blocks]
            if claim.is_materialized and any(node.descends_from(bad) for node in needed):
                survivors = {node.position for node in claim.nodes if node.is_computed and node not in bad}
                self.end(claim, ClaimEvent.HARM, {"harm_cause": cause}, surviving=survivors)
        self.forget(lost)

    def forget(self, lost: Iterable[Node]) -> None:
        """Drop the content of nodes, tail first."""
        for node in sorted(lost, key=lambda node: -node.position):
            if (block := node.block) is not None:
                self.pool.clear(block)
                self._report_lost(node, block, None)
