"""The calls of the reference model: admit, step, finish, preempt, resume, and faults."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from residentkv.contract.claim import ClaimEvent
from residentkv.contract.decision import Admitted, ArbiterAction, Deferred, NeedsRoom, Refused
from residentkv.contract.errors import ContractError
from residentkv.contract.events import Event
from residentkv.contract.identity import CacheIdentity, ExtraKeys
from residentkv.microruntime.claim_desk import ClaimDesk
from residentkv.microruntime.conflict_desk import ConflictDesk
from residentkv.microruntime.decision import Rule, Verdict, decide, decide_again, record
from residentkv.microruntime.demand import Attention, DemandPlan
from residentkv.microruntime.host_tier import HostTier
from residentkv.microruntime.journal import Journal
from residentkv.microruntime.ledger import Ledger
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.request import Demand, Request, Status


class MicroRuntime:
    """One pool with claims, as the contract has it. Nothing is fast, everything is computed from its definition.

    Parameters
    ----------
    clock : nanoseconds; the only source of time.
    write : takes every event as it happens.

    Attributes
    ----------
    claims : submit and end claims.
    tier : offload and restore them.
    ledger : the state; read it, do not change it.
    """

    def __init__(self, options: MicroOptions, clock: Callable[[], int], write: Callable[[Event], None]) -> None:
        run = {"run_id": options.run_id, "policy": options.policy.name, "usable_blocks": options.usable_blocks}
        self.options = options
        self.ledger = Ledger(options.usable_blocks, Journal(run, clock, write))
        self.claims = ClaimDesk(options, self.ledger)
        self.tier = HostTier(self.ledger, options.host_blocks)
        self._desk = ConflictDesk(self.ledger, self.tier, options.policy)
        self._rows = list(range(options.max_requests - 1, -1, -1))  # a stack: the row freed last is taken first

    # --- requests ---

    def admit(
        self,
        request_id: str,
        tokens: Sequence[int],
        *,
        max_new_tokens: int | None = None,
        identity: CacheIdentity | None = None,
        extra_keys: ExtraKeys = (),
        future_reuse: bool = True,
    ) -> Admitted | Deferred | Refused:
        """Take the blocks of a request's whole prompt, reusing what is there; all or nothing.

        `max_new_tokens=None` means as planned so far: growth may be refused later. A prompt that reaches an offloaded
        claim begins its restore and is deferred.

        Raises
        ------
        ContractError : an id in use, no tokens, or no row left.
        """
        request = Request(
            request_id,
            row=-1,
            identity=identity or self.options.identity,
            tokens=tuple(tokens),
            limit=None if max_new_tokens is None else len(tokens) + max_new_tokens,
            extra_keys=tuple(extra_keys),
            wants_reuse=future_reuse,
        )
        if not tokens or request_id in self.ledger.requests or not self._rows:
            raise ContractError(
                f"request {request_id!r} can not be admitted: no tokens, its id is in use, or no row is left"
            )
        self._know(request, request.tokens)
        request.peak_blocks = request.blocks_for(request.limit or len(tokens))
        return self._enter(request, decide)

    def admit_plan(self, request_id: str, plan: DemandPlan) -> Admitted | Deferred | Refused:
        """Admit a request that is known by its plan alone, and begin its first chunk. |A(r)| is the plan's peak.

        Its KV has no tokens: it finds nothing in the pool and leaves nothing behind.

        Raises
        ------
        ContractError : an id in use, or no row left.
        """
        if request_id in self.ledger.requests or not self._rows:
            raise ContractError(f"request {request_id!r} can not be admitted: its id is in use, or no row is left")
        request = Request(
            request_id, -1, self.options.identity, peak_blocks=plan.peak_blocks, plan=plan, wants_reuse=False
        )
        return self._enter(request, decide)

    def resume(self, request_id: str) -> Admitted | Deferred:
        """Admit a preempted or swapped request again. It may have to wait, it is never refused.

        Raises
        ------
        ContractError : unknown, or running.
        """
        request = self._request(request_id)
        if request.status is Status.RUNNING:
            raise ContractError(f"request {request_id!r} is running")
        answer = self._enter(request, decide_again)
        if isinstance(answer, Refused):
            raise AssertionError(f"request {request_id!r} was admitted before, and was refused now")
        return answer

    def step(self, fed: Mapping[str, Sequence[int]]) -> NeedsRoom | Refused | None:
        """Feed each request its next tokens and compute them, for all or for none. None: done.

        Known tokens must be repeated; what follows them was generated.

        Raises
        ------
        ContractError : an unknown request, or tokens that it can not be fed.
        """
        after = {self._request(name): self._request(name).checked_feed(tokens) for name, tokens in fed.items()}
        ends = {request: request.num_computed + len(fed[request.request_id]) for request in after}
        answer = self._make_room(ends)
        if answer is not None:
            return answer
        self.claims.num_steps += 1
        for request, end in ends.items():
            request.peak_blocks = max(request.peak_blocks, request.blocks_for(end))
            while len(request.blocks) < request.blocks_for(end):
                request.blocks.append(self.ledger.take(request.request_id))
        for request, end in ends.items():
            self._know(request, after[request])
            request.num_computed = end
            self.ledger.publish(request)
        return None

    def advance(self, request_id: str) -> NeedsRoom | None:
        """Let go of what the request's plan no longer needs, and begin its next chunk. None: done.

        Raises
        ------
        ContractError : unknown, not running by a plan, or its last chunk has begun.
        """
        request = self._request(request_id)
        plan = request.plan
        if plan is None or request.status is not Status.RUNNING or request.chunk == len(plan.chunks):
            raise ContractError(f"request {request_id!r} has no chunk to begin")
        chunk, live = plan.chunks[request.chunk], plan.live_by_step[request.chunk]
        kept = live - chunk
        room = self.ledger.facts().room + len(request.blocks) - kept
        if chunk > room:
            return NeedsRoom((request_id,), chunk - room)
        self.claims.expire_crossed(1, chunk)
        self.claims.num_steps += 1
        dropped, request.blocks = (
            request.blocks[: len(request.blocks) - kept],
            request.blocks[len(request.blocks) - kept :],
        )
        for block in reversed(dropped):
            self.ledger.pool.release(block)
        request.blocks += [self.ledger.take(request_id) for _ in range(chunk)]
        request.chunk += 1
        return None

    def finish(self, request_id: str) -> None:
        """Forget a request. Its blocks become cached, resident or free.

        Raises
        ------
        ContractError : unknown.
        """
        request = self._request(request_id)
        del self.ledger.requests[request_id]
        self._rows.append(request.row)
        self._give_back(request)

    def preempt(self, request_id: str) -> None:
        """Take a running request's blocks; it computes again what is not cached when it resumes.

        Raises
        ------
        ContractError : unknown, or not running.
        """
        request = self._running(request_id)
        request.status = Status.PREEMPTED
        request.num_computed = 0
        request.chunk = 0
        self._give_back(request)

    def swap_out(self, request_id: str) -> int:
        """Take a running request's blocks and keep what it computed on the host; return how many blocks were copied.

        Raises
        ------
        ContractError : unknown, or not running.
        """
        request = self._running(request_id)
        request.status = Status.SWAPPED
        num_copied = len(request.blocks)
        self._give_back(request)
        return num_copied

    # --- faults ---

    def invalidate(self, block_ids: Sequence[int], *, cause: str) -> tuple[str, ...]:
        """Declare the content of blocks bad. Returns the requests that used it: they were preempted.

        Raises
        ------
        ContractError : a block that does not exist.
        """
        if any(not 1 <= block <= self.options.usable_blocks for block in block_ids):
            raise ContractError(f"blocks are 1 to {self.options.usable_blocks}, got {list(block_ids)}")
        bad = {self.ledger.pool.content[block] for block in block_ids if block in self.ledger.pool.content}
        used = [
            request
            for request in self._running_by_row()
            if set(block_ids) & set(request.blocks)
            or any(node.descends_from(bad) for node in [*request.published, *request.fills])
        ]
        for request in used:
            self.preempt(request.request_id)
        self.ledger.lose(bad, cause)
        return tuple(request.request_id for request in used)

    def reset(self) -> tuple[str, ...]:
        """Drop all content: demote every claim, preempt every running request. Returns those requests."""
        for claim in self.claims:
            self.ledger.end(claim, ClaimEvent.DEMOTE)
        running = self._running_by_row()
        for request in running:
            self.preempt(request.request_id)
        self.ledger.forget(self.ledger.nodes)
        return tuple(request.request_id for request in running)

    # --- how a request gets its blocks ---

    def _enter(self, request: Request, rule: Rule) -> Admitted | Deferred | Refused:
        done = ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT
        while True:
            if self.claims.expire_crossed(0, 0):
                continue
            demand = self._demand(request)
            waiting = self._restore(demand)
            verdict = rule(self.ledger.facts(), demand)
            if waiting and verdict.fits:
                verdict = replace(verdict, action=ArbiterAction.DEFER_ACTIVE)
            if verdict.fits:
                if self.claims.expire_crossed(0, verdict.new_blocks):
                    continue
                return self._occupy(request, demand, verdict, done)
            if self.claims.expire_due():
                continue
            answer = self._desk.settle(demand, verdict, rule, wants_reuse=request.wants_reuse)
            if not isinstance(answer, ArbiterAction):
                return answer
            done = answer

    def _restore(self, demand: Demand) -> bool:
        """Begin the restores that the demand needs and that fit; say whether it has to wait for any."""
        waits = False
        for claim in self.tier.needed_by(demand.nodes[: demand.num_reusable]):
            if claim.is_on_device:
                waits = True
            elif self.claims.sizes_with(claim.nodes).fit(self.options.usable_blocks):
                self.tier.require(claim, demand.request_id)
                waits = True
        return waits

    def _occupy(self, request: Request, demand: Demand, verdict: Verdict, done: ArbiterAction) -> Admitted:
        facts, pool = self.ledger.facts(), self.ledger.pool
        numbers = record(facts, demand, verdict, (), wants_reuse=request.wants_reuse)
        to_fill = facts.filled_by(demand)
        if request.row < 0:
            request.row = self._rows.pop()
            self.ledger.requests[request.request_id] = request
        for node in verdict.reused:  # held first: what is reused must not be its own victim
            pool.hold(pool_block := node.block or 0)
            request.blocks.append(pool_block)
        request.published = list(verdict.reused)
        request.fills = {node: None for node in demand.nodes if node in to_fill}
        num_victims = self.ledger.num_victims
        request.blocks += [self.ledger.take(request.request_id) for _ in range(verdict.new_blocks)]
        num_cached_tokens = len(verdict.reused) * request.identity.block_size
        if request.status is not Status.SWAPPED:
            request.num_computed = num_cached_tokens
            request.chunk = 0 if request.plan is None else 1
        request.status, request.has_stopped = Status.RUNNING, False
        self._desk.waiting.pop(request.request_id, None)
        if done is ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT:
            done = self._how_served(request, has_victims=self.ledger.num_victims > num_victims)
        fields = {"request_id": request.request_id, **numbers.as_fields(), "arbiter_action": done.value}
        if request.plan is not None and request.plan.attention is not Attention.FULL:
            self.ledger.journal.say("active_live_bounded", fields)
        blocks = {"reused_blocks": len(verdict.reused), "new_blocks": verdict.new_blocks}
        self.ledger.journal.say("active_request_admitted", fields, **blocks)
        reuse = "future_reuse_admitted" if request.wants_reuse else "future_reuse_denied"
        self.ledger.journal.say(reuse, {"request_id": request.request_id})
        self.tier.note_reuse(set(verdict.reused), request.request_id)
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

    def _make_room(self, ends: Mapping[Request, int]) -> NeedsRoom | Refused | None:
        """See to it that every request may grow to its end, or say who may not."""
        while True:
            if self.claims.expire_crossed(1, 0):
                continue
            facts = self.ledger.facts()
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
                if self.claims.expire_crossed(1, needed):
                    continue
                return None
            if self.claims.expire_due():
                continue
            if refused is None:
                return NeedsRoom(tuple(without_room), needed - facts.room)
            request, demand, verdict = refused
            answer = self._desk.settle(demand, verdict, decide, wants_reuse=request.wants_reuse)
            if isinstance(answer, Refused):
                return answer

    def _demand(self, request: Request) -> Demand:
        """What a request asks for to run, from nothing."""
        if request.status is Status.SWAPPED:
            num_blocks = max(
                request.blocks_for(len(request.tokens)),
                sum(request.plan.chunks[: request.chunk]) if request.plan else 0,
            )
            return Demand(request.request_id, request.nodes, 0, num_blocks, request.peak_blocks)
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

    def _know(self, request: Request, tokens: tuple[int, ...]) -> None:
        request.tokens = tokens
        num_full = len(tokens) // request.identity.block_size
        request.nodes = self.ledger.nodes.chain(request.identity, tokens, num_full, request.extra_keys)

    def _give_back(self, request: Request) -> None:
        for block in reversed(request.blocks):  # tail first, so that a chain is evicted from its tail
            self.ledger.pool.release(block)
        request.blocks.clear()
        request.published.clear()
        request.fills.clear()

    def _running_by_row(self) -> list[Request]:
        running = [request for request in self.ledger.requests.values() if request.status is Status.RUNNING]
        return sorted(running, key=lambda request: request.row)

    def _running(self, request_id: str) -> Request:
        request = self._request(request_id)
        if request.status is not Status.RUNNING:
            raise ContractError(f"request {request_id!r} is not running")
        return request

    def _request(self, request_id: str) -> Request:
        request = self.ledger.requests.get(request_id)
        if request is None:
            raise ContractError(f"request {request_id!r} is not admitted")
        return request
