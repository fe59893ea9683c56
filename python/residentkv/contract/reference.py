"""The formulas of contract.md sections 1, 2 and 5 as plain sets: the oracle for every decision of a real runtime.

It is written to be obviously right, not fast: every set is computed from the facts, and no count is ever updated.

Words: a *node* is a logical block, known by its content. A block whose content is not known yet, or that nobody can
find, belongs to its request alone: `Own` by position for what a request will hold, `OwnBlock` by physical id for what
it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from residentkv.contract.arbiter import RelaxOrder
from residentkv.contract.claim import ClaimSpec
from residentkv.contract.decision import ArbiterAction, ConflictRecord, Feasibility
from residentkv.contract.identity import CacheIdentity, ExtraKeys, checked_tokens


@dataclass(frozen=True, slots=True)
class Node:
    """A logical block: an identity, all tokens up to its end, and the extra keys of its blocks."""

    identity: CacheIdentity
    tokens: tuple[int, ...]
    extra_keys: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Own:
    """Block number `position` of a request, when its content is not fixed yet."""

    request_id: str
    position: int


@dataclass(frozen=True, slots=True)
class OwnBlock:
    """Physical block `block`, held for content that cannot be found in it: a duplicate, or not committed."""

    block: int


Logical = Node | Own | OwnBlock


@dataclass(frozen=True, slots=True)
class ReferenceRequest:
    """A request, admitted or asking to be.

    Parameters
    ----------
    tokens : prompt, then the generated tokens known so far.
    peak_blocks : |A(r)| = blocks(prompt + max_new_tokens), or as planned so far.
    blocks : physical blocks it holds, by position; empty before admission and while preempted.
    fills : positions whose block draws on a claim's reservation.
    """

    request_id: str
    identity: CacheIdentity
    tokens: tuple[int, ...]
    peak_blocks: int
    extra_keys: ExtraKeys = ()
    blocks: tuple[int, ...] = ()
    fills: frozenset[int] = frozenset()

    @property
    def nodes(self) -> list[Node]:
        """Nodes of its full blocks of known tokens, by position."""
        return chain(self.identity, self.tokens, len(self.tokens) // self.identity.block_size, self.extra_keys)

    @property
    def num_blocks_now(self) -> int:
        """Blocks its known tokens need."""
        return -(-len(self.tokens) // self.identity.block_size)


@dataclass(frozen=True)
class ReferencePool:
    """The facts a decision rests on.

    Parameters
    ----------
    requests : admitted and not finished, preempted ones included, by admission.
    claims : accepted and not ended, by acceptance.
    indexed : canonical physical block of every committed node.
    detached : nodes of `indexed` that invalidation made unfindable but a claim still names.
    offloaded : ids of the claims that are offloaded.
    """

    usable_blocks: int
    requests: tuple[ReferenceRequest, ...] = ()
    claims: tuple[ClaimSpec, ...] = ()
    indexed: Mapping[Node, int] = field(default_factory=dict)
    detached: frozenset[Node] = frozenset()
    offloaded: frozenset[str] = frozenset()

    @cached_property
    def protecting_claims(self) -> tuple[ClaimSpec, ...]:
        """Claims whose footprints make up P."""
        return tuple(
            claim for claim in self.claims if claim.mode.is_protecting and claim.claim_id not in self.offloaded
        )

    @cached_property
    def protected(self) -> set[Node]:
        """P."""
        return {node for claim in self.protecting_claims for node in footprint(claim)}

    @cached_property
    def filled(self) -> set[Node]:
        """Nodes of P that a running request computes, drawing on their reservation.

        Once another request has computed a node, its filler's block is a duplicate like any other.
        """
        filled = {request.nodes[position] for request in self.requests for position in request.fills}
        return (filled & self.protected) - self.indexed.keys()

    @cached_property
    def reserved(self) -> set[Node]:
        """Nodes of P that are neither computed nor being filled."""
        return self.protected - self.indexed.keys() - self.filled

    @cached_property
    def active_blocks(self) -> set[int]:
        """Physical blocks with ref > 0."""
        return {block for request in self.requests for block in request.blocks}

    @cached_property
    def cached(self) -> set[Node]:
        """Computed nodes nobody holds or protects."""
        return self._idle - self.protected

    @cached_property
    def resident_idle(self) -> set[Node]:
        """Computed nodes nobody holds, in P."""
        return self._idle & self.protected

    @cached_property
    def free(self) -> int:
        """Blocks without content."""
        return self.usable_blocks - len(self.active_blocks | set(self.indexed.values()))

    @cached_property
    def held(self) -> set[Logical]:
        """What requests hold: a node if the block is its canonical one or fills it, else a block of its own."""
        filled = self.filled
        held: set[Logical] = set()
        for request in self.requests:
            nodes = request.nodes
            for position, block in enumerate(request.blocks):
                node = nodes[position] if position < len(nodes) else None
                fills = position in request.fills and node in filled
                held.add(node if node is not None and (fills or self.indexed.get(node) == block) else OwnBlock(block))
        return held

    def peak(self, request: ReferenceRequest) -> set[Logical]:
        """Return A(r): the nodes `request` holds or will hold at its peak."""
        known = [
            Own(request.request_id, position) if node in self.detached else node
            for position, node in enumerate(request.nodes)
        ]
        return {*known, *(Own(request.request_id, position) for position in range(len(known), request.peak_blocks))}

    def reused(self, request: ReferenceRequest) -> set[Node]:
        """Return the leading computed nodes `request` would find; its last token is always computed."""
        found: set[Node] = set()
        for node in request.nodes[: (len(request.tokens) - 1) // request.identity.block_size]:
            if node not in self.indexed or node in self.detached:
                break
            found.add(node)
        return found

    def filled_by(self, request: ReferenceRequest) -> set[Node]:
        """Return the reserved nodes whose reservation `request` would draw on."""
        return self.reserved & set(request.nodes)

    def available(self, request: ReferenceRequest) -> int:
        """Return available(r)."""
        reused_idle = self.reused(request) & self.cached
        reserved_for_others = self.reserved - self.filled_by(request)
        return self.free + len(self.cached) - len(reused_idle) - len(reserved_for_others)

    def without(self, claim_ids: set[str]) -> "ReferencePool":
        """Return the pool as it would be had these claims ended."""
        return replace(self, claims=tuple(claim for claim in self.claims if claim.claim_id not in claim_ids))

    def with_claim(self, claim: ClaimSpec) -> "ReferencePool":
        """Return the pool as it would be had it accepted `claim`.

        Each planned node of the claim is filled by the first admitted request that computes it already.
        """
        after = replace(self, claims=(*self.claims, claim))
        wanted = after.reserved.intersection(footprint(claim))
        requests = []
        for request in self.requests:
            positions = {i for i, node in enumerate(request.nodes[: len(request.blocks)]) if node in wanted}
            wanted -= {request.nodes[position] for position in positions}
            requests.append(replace(request, fills=request.fills | positions))
        return replace(after, requests=tuple(requests))

    @cached_property
    def _idle(self) -> set[Node]:
        active = self.active_blocks
        return {node for node, block in self.indexed.items() if block not in active}


@dataclass(frozen=True, slots=True)
class ReferenceDecision:
    """What section 5 answers to one request.

    Parameters
    ----------
    outcome : "admitted", "deferred" or "refused".
    blocking : (claim id, its blocks in the way), in the record's order.
    """

    outcome: str
    num_cached_blocks: int
    new_blocks: int
    blocking: tuple[tuple[str, int], ...]
    record: ConflictRecord


@dataclass(frozen=True, slots=True)
class ReferenceAcceptance:
    """What section 2 answers to one claim, with the three sizes it compares with `usable`."""

    accepted: bool
    materialized: bool
    protected_blocks: int  # |P u c|
    protected_union_held_blocks: int  # |P u c u held|
    largest_union_blocks: int  # max over admitted r of |P u c u A(r)|; |P u c| when there is none


def chain(identity: CacheIdentity, tokens: tuple[int, ...], num_blocks: int, extra_keys: ExtraKeys = ()) -> list[Node]:
    """Return the nodes of the first `num_blocks` full blocks of `tokens`."""
    size = identity.block_size
    keys = (*extra_keys, *(None for _ in range(num_blocks - len(extra_keys))))
    return [Node(identity, tokens[: (i + 1) * size], keys[: i + 1]) for i in range(num_blocks)]


def footprint(claim: ClaimSpec) -> list[Node]:
    """Return the nodes a claim names, by position."""
    return chain(claim.cache_identity, checked_tokens(claim.tokens), claim.num_footprint_blocks, claim.extra_keys or ())


def decide(
    pool: ReferencePool, request: ReferenceRequest, order: RelaxOrder = RelaxOrder.LEAST_VALUE
) -> ReferenceDecision:
    """Answer `request` as section 5 does, before any arbiter acted."""
    outcome, blocking = _outcome(pool, request)
    reused = pool.reused(request)
    new_blocks, available = request.num_blocks_now - len(reused), pool.available(request)
    peak, protected = pool.peak(request), pool.protected
    record = ConflictRecord(
        active_live_blocks_required=len(peak),
        active_live_blocks_current=len(pool.active_blocks),
        usable_blocks=pool.usable_blocks,
        protected_resident_blocks=len(protected),
        resident_plus_active_blocks=len(protected | pool.held | peak),
        free_blocks_before_allocate=available,
        capacity_shortfall_blocks=new_blocks - available,
        feasibility=Feasibility.FEASIBLE
        if len(protected | peak) <= pool.usable_blocks
        else Feasibility.INFEASIBLE_PRESERVE_RESIDENT_AND_ACTIVE,
        blocking_claim_ids=tuple(claim_id for claim_id, _ in blocking),
        sufficient_claim_ids=_sufficient(pool, request, blocking, order),
        protected_resident_claims=tuple(claim.claim_id for claim in pool.protecting_claims),
        future_reuse_requested=True,
        future_reuse_admitted=outcome == "admitted",
        arbiter_action=_action(outcome, len(peak), pool.usable_blocks),
    )
    return ReferenceDecision(outcome, len(reused), new_blocks, blocking, record)


def accept(pool: ReferencePool, claim: ClaimSpec) -> ReferenceAcceptance:
    """Answer a submitted claim as section 2 does, as far as capacity goes."""
    after = pool.with_claim(claim)
    protected = after.protected
    held = len(protected | after.held)
    largest = max([len(protected), *(len(protected | after.peak(request)) for request in pool.requests)])
    surviving = {position for position, node in enumerate(footprint(claim)) if node in pool.indexed}
    return ReferenceAcceptance(
        accepted=not claim.mode.is_protecting or max(held, largest) <= pool.usable_blocks,
        materialized=claim.predicate.holds(surviving),
        protected_blocks=len(protected),
        protected_union_held_blocks=held,
        largest_union_blocks=largest,
    )


def _outcome(pool: ReferencePool, request: ReferenceRequest) -> tuple[str, tuple[tuple[str, int], ...]]:
    peak, reused = pool.peak(request), pool.reused(request)
    if len(peak) > pool.usable_blocks:
        return "refused", ()
    if len(pool.protected | peak) > pool.usable_blocks:
        return "refused", _in_the_way(pool, pool.protected - peak)
    if request.num_blocks_now - len(reused) > pool.available(request):
        return "deferred", _in_the_way(pool, pool.protected - pool.held - reused - pool.filled_by(request))
    return "admitted", ()


def _in_the_way(pool: ReferencePool, nodes: set[Node]) -> tuple[tuple[str, int], ...]:
    counts = [(claim.claim_id, len(nodes.intersection(footprint(claim)))) for claim in pool.protecting_claims]
    return tuple(sorted((entry for entry in counts if entry[1]), key=lambda entry: -entry[1]))


def in_policy_order(
    pool: ReferencePool, blocking: tuple[tuple[str, int], ...], order: RelaxOrder = RelaxOrder.LEAST_VALUE
) -> list[str]:
    """Return the claims of a blocking list in the order in which a policy considers them."""
    value = {claim.claim_id: claim.expected_value for claim in pool.claims}
    candidates = [claim_id for claim_id, _ in blocking]
    if order is RelaxOrder.LEAST_VALUE:
        candidates.sort(key=lambda claim_id: (value[claim_id] is None, value[claim_id] or 0.0))
    return candidates


def _sufficient(
    pool: ReferencePool, request: ReferenceRequest, blocking: tuple[tuple[str, int], ...], order: RelaxOrder
) -> tuple[str, ...]:
    candidates = in_policy_order(pool, blocking, order)

    def fits(ended: list[str]) -> bool:
        return _outcome(pool.without(set(ended)), request)[0] == "admitted"

    chosen: list[str] = []
    while candidates and not fits(chosen):
        chosen.append(candidates.pop(0))
    if not fits(chosen):
        return ()
    for claim_id in reversed(chosen.copy()):
        rest = [other for other in chosen if other != claim_id]
        if fits(rest):
            chosen = rest
    return tuple(chosen)


def _action(outcome: str, peak_blocks: int, usable_blocks: int) -> ArbiterAction:
    if outcome == "admitted":
        return ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT
    if outcome == "deferred":
        return ArbiterAction.DEFER_ACTIVE
    return ArbiterAction.CAPACITY_REQUIRED if peak_blocks > usable_blocks else ArbiterAction.REFUSE_ACTIVE
