"""The decisions of contract.md sections 2 and 5: from the facts, by the definitions, and by trial where they say so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from residentkv.contract.decision import ArbiterAction, ConflictRecord, Feasibility
from residentkv.microruntime.claim import Claim
from residentkv.microruntime.facts import Facts
from residentkv.microruntime.node import Node
from residentkv.microruntime.request import Demand


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a demand, before anybody acted.

    Parameters
    ----------
    action : SERVE_ACTIVE_PRESERVE_RESIDENT (it fits), DEFER_ACTIVE, REFUSE_ACTIVE or CAPACITY_REQUIRED.
    blocking : claims in the way, by blocks in the way descending, then by acceptance.
    new_blocks : to take now.
    """

    action: ArbiterAction
    blocking: tuple[Claim, ...]
    reused: tuple[Node, ...]
    new_blocks: int

    @property
    def fits(self) -> bool:
        """Whether the demand can be met now."""
        return self.action is ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT

    @property
    def may_fit(self) -> bool:
        """Whether the demand fits beside the claims, now or once other requests are gone."""
        return self.fits or self.action is ArbiterAction.DEFER_ACTIVE


def decide(facts: Facts, demand: Demand) -> Verdict:
    """Answer a demand as section 5 does."""
    peak, reused = facts.peak(demand), facts.reused(demand)
    new_blocks = demand.num_blocks - (len(reused) if demand.num_held is None else demand.num_held)
    if len(peak) > facts.usable:
        return Verdict(ArbiterAction.CAPACITY_REQUIRED, (), tuple(reused), new_blocks)
    if len(facts.protected | peak) > facts.usable:
        blocking = _in_the_way(facts, facts.protected - peak)
        return Verdict(ArbiterAction.REFUSE_ACTIVE, blocking, tuple(reused), new_blocks)
    if new_blocks > facts.available(demand):
        in_the_way = facts.protected - facts.held - set(reused) - facts.filled_by(demand)
        return Verdict(ArbiterAction.DEFER_ACTIVE, _in_the_way(facts, in_the_way), tuple(reused), new_blocks)
    return Verdict(ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT, (), tuple(reused), new_blocks)


def decide_again(facts: Facts, demand: Demand) -> Verdict:
    """Answer the demand of a request that was admitted before: it may have to wait, it is never refused."""
    verdict = decide(facts, demand)
    if verdict.new_blocks <= facts.available(demand):
        return replace(verdict, action=ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT, blocking=())
    in_the_way = facts.protected - facts.held - set(verdict.reused) - facts.filled_by(demand)
    return replace(verdict, action=ArbiterAction.DEFER_ACTIVE, blocking=_in_the_way(facts, in_the_way))


Rule = Callable[[Facts, Demand], Verdict]
"""`decide` for a new demand, `decide_again` for that of a request which resumes."""


def sufficient(facts: Facts, demand: Demand, order: Sequence[Claim], rule: Rule) -> tuple[Claim, ...]:
    """Return an inclusion-minimal set of `order` whose end admits the demand: add until it fits, drop in reverse."""

    def fits(ended: Sequence[Claim]) -> bool:
        return rule(facts.without(ended), demand).fits

    chosen: list[Claim] = []
    for claim in order:
        if fits(chosen):
            break
        chosen.append(claim)
    if not fits(chosen):
        return ()
    for claim in reversed(tuple(chosen)):
        rest = [other for other in chosen if other is not claim]
        if fits(rest):
            chosen = rest
    return tuple(chosen)


def record(
    facts: Facts, demand: Demand, verdict: Verdict, enough: Sequence[Claim], *, wants_reuse: bool
) -> ConflictRecord:
    """Return the numbers of a decision under the names of the contract."""
    peak, available = facts.peak(demand), facts.available(demand)
    return ConflictRecord(
        active_live_blocks_required=len(peak),
        active_live_blocks_current=facts.pool.num_active,
        usable_blocks=facts.usable,
        protected_resident_blocks=len(facts.protected),
        resident_plus_active_blocks=len(facts.protected | facts.held | peak),
        free_blocks_before_allocate=available,
        capacity_shortfall_blocks=verdict.new_blocks - available,
        feasibility=Feasibility.FEASIBLE
        if len(facts.protected | peak) <= facts.usable
        else Feasibility.INFEASIBLE_PRESERVE_RESIDENT_AND_ACTIVE,
        blocking_claim_ids=tuple(claim.claim_id for claim in verdict.blocking),
        sufficient_claim_ids=tuple(claim.claim_id for claim in enough),
        protected_resident_claims=tuple(claim.claim_id for claim in facts.protecting_claims),
        future_reuse_requested=wants_reuse,
        future_reuse_admitted=wants_reuse and verdict.fits,
        arbiter_action=verdict.action,
    )


@dataclass(frozen=True, slots=True)
class Sizes:
    """What P would be with one claim more, in blocks: alone, with what requests hold, with the largest A(r)."""

    protected: int
    protected_and_held: int
    protected_and_largest: int

    def fit(self, usable: int) -> bool:
        """Whether the claim may be accepted, or come back to the device."""
        return max(self.protected, self.protected_and_held, self.protected_and_largest) <= usable


def sizes_with(facts: Facts, nodes: Sequence[Node], demands: Sequence[Demand]) -> Sizes:
    """Return the sizes if `nodes` joined P. `demands`: of every admitted request, preempted ones included."""
    protected = facts.protected.union(nodes)
    held = set(facts.held)
    for node, request in facts.fillers(nodes).items():  # what a request already computes becomes one with the claim's
        held.discard(("block", request.blocks[node.position]))
    largest = max((len(protected | facts.peak(demand)) for demand in demands), default=0)
    return Sizes(len(protected), len(protected | held), max(len(protected), largest))


def _in_the_way(facts: Facts, nodes: set[Node]) -> tuple[Claim, ...]:
    counts = [(claim, len(nodes.intersection(claim.nodes))) for claim in facts.protecting_claims]
    return tuple(claim for claim, count in sorted(counts, key=lambda entry: -entry[1]) if count)
