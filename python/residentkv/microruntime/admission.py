"""How a request gets its blocks, keeps getting them, and gives them back."""

from collections.abc import Mapping
from dataclasses import replace

from residentkv.contract.decision import Admitted, ArbiterAction, Deferred, NeedsRoom, Refused
from residentkv.microruntime.claim_desk import ClaimDesk
from residentkv.microruntime.conflict_desk import ConflictDesk
from residentkv.microruntime.decision import Rule, Verdict, decide, record
from residentkv.microruntime.demand import Attention
from residentkv.microruntime.host_tier import HostTier
from residentkv.microruntime.ledger import Ledger
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.request import Demand, Request, Status


class Admission:
    """Lets requests in, one decision at a time; repeats it after every claim that expired or was acted on.

    Attributes
    ----------
    rows : numbers that no request runs under; the one given back last is taken first.
    """

    def __init__(self, options: MicroOptions, ledger: Ledger, claims: ClaimDesk, tier: HostTier) -> None:
        self._ledger = ledger
        self._claims = claims
        self._tier = tier
        self._desk = ConflictDesk(ledger, tier, options.policy)
        self.rows = list(range(options.max_requests - 1, -1, -1))

    def enter(self, request: Request, rule: Rule) -> Admitted | Deferred | Refused:
        """Let a request in that holds nothing, or say why not."""
        done = ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT
        failed = self._tier.failed_for.pop(request.request_id, None)
        if failed and request.row < 0:  # one that was admitted before is never refused
            return self._desk.refuse_for(failed, self._demand(request), wants_reuse=request.wants_reuse)
        while True:
            if self._claims.expire_crossed(0, 0):
                continue
            demand = self._demand(request)
            waiting = self._restore(demand)
            verdict = rule(self._ledger.facts(), demand)
            if waiting and verdict.fits:
                verdict = replace(verdict, action=ArbiterAction.DEFER_ACTIVE)
            if verdict.fits:
                if self._claims.expire_crossed(0, verdict.new_blocks):
                    continue
                return self._occupy(request, demand, verdict, done)
            if self._claims.expire_due():
                continue
            answer = self._desk.settle(demand, verdict, rule, wants_reuse=request.wants_reuse)
            if not isinstance(answer, ArbiterAction):
                return answer
            done = answer

    def _restore(self, demand: Demand) -> bool:
        """Begin the restores that the demand needs and that fit; say whether it has to wait for any."""
        waits = False
        for claim in self._tier.needed_by(demand.nodes[: demand.num_reusable]):
            if claim.is_on_device:
                waits = True
                self._tier.wait(claim, demand.request_id)
            elif self._claims.sizes_with(claim.nodes).fit(self._ledger.pool.usable_blocks):
                self._tier.require(claim, demand.request_id)
                self._tier.wait(claim, demand.request_id)
                waits = True
        return waits

    def _occupy(self, request: Request, demand: Demand, verdict: Verdict, done: ArbiterAction) -> Admitted:
        facts, pool = self._ledger.facts(), self._ledger.pool
        numbers = record(facts, demand, verdict, (), wants_reuse=request.wants_reuse)
        to_fill = facts.filled_by(demand)
        if request.row < 0:
            request.row = self.rows.pop()
            self._ledger.requests[request.request_id] = request
        for node in verdict.reused:  # held first: what is reused must not be its own victim
            pool.hold(pool_block := node.block or 0)
            request.blocks.append(pool_block)
        request.published = list(verdict.reused)
        request.fills = {node: None for node in demand.nodes if node in to_fill}
        num_victims = self._ledger.num_victims
        request.blocks += [self._ledger.take(request.request_id) for _ in range(verdict.new_blocks)]
        num_cached_tokens = len(verdict.reused) * request.identity.block_size
        if request.status is not Status.SWAPPED:
            request.num_computed = num_cached_tokens
            request.chunk = 0 if request.plan is None else 1
        request.status, request.has_stopped = Status.RUNNING, False
        self._desk.waiting.pop(request.request_id, None)
        if done is ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT:
            done = self._how_served(request, has_victims=self._ledger.num_victims > num_victims)
        fields = {"request_id": request.request_id, **numbers.as_fields(), "arbiter_action": done.value}
        if request.plan is not None and request.plan.attention is not Attention.FULL:
            self._ledger.journal.say("active_live_bounded", fields)
        blocks = {"reused_blocks": len(verdict.reused), "new_blocks": verdict.new_blocks}
        self._ledger.journal.say("active_request_admitted", fields, **blocks)
        reuse = "future_reuse_admitted" if request.wants_reuse else "future_reuse_denied"
        self._ledger.journal.say(reuse, {"request_id": request.request_id})
        self._tier.note_reuse(set(verdict.reused), request.request_id)
        return Admitted(request.request_id, request.row, num_cached_tokens, verdict.new_blocks)

    @staticmethod
    def _how_served(request: Request, *, has_victims: bool) -> ArbiterAction:
        if request.plan is not None and request.plan.attention is Attention.RECOMPUTE:
            return ArbiterAction.RECOMPUTE_SPLIT
        if request.plan is not None and request.plan.attention is Attention.SLIDING_WINDOW:
            return ArbiterAction.BOUND_ACTIVE_LIVE
        if not request.wants_reuse:
            return ArbiterAction.SERVE_ACTIVE_NO_ADMIT
        return (
            ArbiterAction.SERVE_ACTIVE_EVICT_RESIDENT if has_victims else ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT
        )

    def make_room(self, ends: Mapping[Request, int]) -> NeedsRoom | Refused | None:
        """See to it that every request may grow to its end, or say who may not."""
        while True:
            if self._claims.expire_crossed(1, 0):
                continue
            facts = self._ledger.facts()
            growth = {request: max(0, request.blocks_for(end) - len(request.blocks)) for request, end in ends.items()}
            refused = None
            without_room, needed = [], 0
            for request, end in ends.items():
                demand = self._growth(request, end)
                verdict = decide(facts, demand)
                if request.blocks_for(end) > request.peak_blocks and not verdict.may_fit:
                    refused = refused or (request, demand, verdict)
                    continue
                needed += growth[request]
                if growth[request] and needed > facts.room:
                    without_room.append(request.request_id)
            if refused is None and needed <= facts.room:
                if self._claims.expire_crossed(1, needed):
                    continue
                return None
            if self._claims.expire_due():
                continue
            if refused is None:
                return NeedsRoom(tuple(without_room), needed - facts.room)
            request, demand, verdict = refused
            answer = self._desk.settle(demand, verdict, decide, wants_reuse=request.wants_reuse)
            if isinstance(answer, Refused):
                return answer

    def _demand(self, request: Request) -> Demand:
        """What a request asks for to run, from nothing."""
        if request.plan is not None:
            return Demand(request.request_id, (), 0, request.plan.chunks[0], request.peak_blocks)
        reusable = (len(request.tokens) - 1) // request.identity.block_size
        num_blocks = request.blocks_for(len(request.tokens))
        return Demand(request.request_id, request.nodes, reusable, num_blocks, request.peak_blocks)

    @staticmethod
    def _growth(request: Request, end: int) -> Demand:
        """What a running request asks for to reach `end` tokens."""
        peak = max(request.peak_blocks, request.blocks_for(max(end, len(request.tokens))))
        return Demand(
            request.request_id,
            request.nodes,
            num_reusable=0,
            num_blocks=max(len(request.blocks), request.blocks_for(end)),
            peak_blocks=peak,
            num_held=len(request.blocks),
        )

    def know(self, request: Request, tokens: tuple[int, ...]) -> None:
        """Take note of a request's tokens."""
        request.tokens = tokens
        num_full = len(tokens) // request.identity.block_size
        request.nodes = self._ledger.nodes.chain(request.identity, tokens, num_full, request.extra_keys)

    def give_back(self, request: Request) -> None:
        """Take everything that a request holds."""
        for block in reversed(request.blocks):  # tail first, so that a chain is evicted from its tail
            self._ledger.pool.release(block)
        request.blocks.clear()
        request.published.clear()
        request.fills.clear()
