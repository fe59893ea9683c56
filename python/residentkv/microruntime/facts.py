"""The sets of contract.md section 1, computed from what is there. No count is ever kept.

A block whose content nobody can find is its request's own: ("own", request id, position) for what a request will hold,
("block", physical id) for what it holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from residentkv.microruntime.claim import Claim
from residentkv.microruntime.node import Node
from residentkv.microruntime.pool import Pool
from residentkv.microruntime.request import Demand, Request, Status

Logical = Node | tuple[str, str, int] | tuple[str, int]


@dataclass(frozen=True)
class Facts:
    """What a decision rests on: a view of one moment, not to be kept beyond it.

    Parameters
    ----------
    claims : accepted and not ended, by acceptance.
    requests : admitted and not finished, preempted ones included, by admission.
    """

    pool: Pool
    claims: tuple[Claim, ...]
    requests: tuple[Request, ...]

    @property
    def usable(self) -> int:
        """Blocks of the pool."""
        return self.pool.usable_blocks

    @cached_property
    def protecting_claims(self) -> tuple[Claim, ...]:
        """Claims whose footprints make up P."""
        return tuple(claim for claim in self.claims if claim.protects)

    @cached_property
    def protected(self) -> set[Node]:
        """P."""
        return {node for claim in self.protecting_claims for node in claim.nodes}

    @cached_property
    def filled(self) -> set[Node]:
        """Nodes of P that a running request computes, drawing on their reservation."""
        return {node for request in self.requests for node in request.fills} & self.protected

    @cached_property
    def reserved(self) -> set[Node]:
        """Nodes of P that are neither computed nor being filled."""
        return {node for node in self.protected if not node.is_computed} - self.filled

    @cached_property
    def held(self) -> set[Logical]:
        """What requests hold: a node if its content can be found there or is computed for a claim, else a block."""
        held: set[Logical] = set()
        for request in self.requests:
            fills = {node.position: node for node in request.fills if node in self.filled}
            for position, block in enumerate(request.blocks):
                if position < len(request.published):
                    held.add(request.published[position])
                else:
                    held.add(fills.get(position, ("block", block)))
        return held

    @cached_property
    def cached(self) -> set[Node]:
        """Computed nodes that nobody holds or protects."""
        return {node for node in self.pool.content.values() if self.is_idle(node)} - self.protected

    @property
    def room(self) -> int:
        """Blocks that can be taken now without touching a promise."""
        return self.pool.num_free + len(self.cached) - len(self.reserved)

    def peak(self, demand: Demand) -> set[Logical]:
        """Return A(r)."""
        own = {("own", demand.request_id, i) for i in range(len(demand.nodes), demand.peak_blocks)}
        return {*demand.nodes, *own}

    def reused(self, demand: Demand) -> list[Node]:
        """Return the leading computed nodes that r would find."""
        found: list[Node] = []
        for node in demand.nodes[: demand.num_reusable]:
            if not node.is_computed:
                break
            found.append(node)
        return found

    def filled_by(self, demand: Demand) -> set[Node]:
        """Return the reserved nodes whose reservation r would draw on; a request that grows draws on none."""
        return self.reserved.intersection(demand.nodes) if demand.num_held is None else set()

    def available(self, demand: Demand) -> int:
        """Return available(r)."""
        return self.room - len(self.cached.intersection(self.reused(demand))) + len(self.filled_by(demand))

    def is_idle(self, node: Node) -> bool:
        """Whether the node's content is there and nobody holds it."""
        return node.block is not None and self.pool.is_idle(node.block)

    def naming(self, node: Node) -> list[Claim]:
        """Return the claims whose footprint has the node, by acceptance, offloaded ones left out."""
        return [claim for claim in self.claims if claim.is_on_device and node in claim.nodes]

    def without(self, ended: Iterable[Claim]) -> "Facts":
        """Return the facts as they would be had these claims ended."""
        gone = set(ended)
        return replace(self, claims=tuple(claim for claim in self.claims if claim not in gone))

    def fillers(self, nodes: Sequence[Node]) -> dict[Node, Request]:
        """Who already computes the planned ones of `nodes`: the first admitted running request that reaches each."""
        wanted = {node for node in nodes if not node.is_computed} - self.protected
        found: dict[Node, Request] = {}
        for request in self.requests:
            if request.status is Status.RUNNING and not request.has_stopped:
                for node in request.nodes[len(request.published) : len(request.blocks)]:
                    if node in wanted:
                        found.setdefault(node, request)
        return found
