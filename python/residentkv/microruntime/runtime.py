"""The calls of the reference model: admit, step, finish, preempt, resume, and faults."""

from collections.abc import Callable, Mapping, Sequence

from residentkv.contract.claim import ClaimEvent
from residentkv.contract.decision import Admitted, Deferred, NeedsRoom, Refused
from residentkv.contract.errors import ContractError
from residentkv.contract.events import Event
from residentkv.contract.identity import CacheIdentity, ExtraKeys
from residentkv.microruntime.admission import Admission
from residentkv.microruntime.claim_desk import ClaimDesk
from residentkv.microruntime.decision import decide, decide_again
from residentkv.microruntime.demand import DemandPlan
from residentkv.microruntime.host_tier import HostTier
from residentkv.microruntime.journal import Journal
from residentkv.microruntime.ledger import Ledger
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.request import Request, Status


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
        self._admission = Admission(options, self.ledger, self.claims, self.tier)

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
        if not tokens or request_id in self.ledger.requests or not self._admission.rows:
            raise ContractError(
                f"request {request_id!r} can not be admitted: no tokens, its id is in use, or no row is left"
            )
        self._admission.know(request, request.tokens)
        request.peak_blocks = request.blocks_for(request.limit or len(tokens))
        return self._admission.enter(request, decide)

    def admit_plan(self, request_id: str, plan: DemandPlan) -> Admitted | Deferred | Refused:
        """Admit a request that is known by its plan alone, and begin its first chunk. |A(r)| is the plan's peak.

        Its KV has no tokens: it finds nothing in the pool and leaves nothing behind.

        Raises
        ------
        ContractError : an id in use, or no row left.
        """
        if request_id in self.ledger.requests or not self._admission.rows:
            raise ContractError(f"request {request_id!r} can not be admitted: its id is in use, or no row is left")
        request = Request(
            request_id, -1, self.options.identity, peak_blocks=plan.peak_blocks, plan=plan, wants_reuse=False
        )
        return self._admission.enter(request, decide)

    def resume(self, request_id: str) -> Admitted | Deferred:
        """Admit a preempted or swapped request again. It may have to wait, it is never refused.

        Raises
        ------
        ContractError : unknown, or running.
        """
        request = self._request(request_id)
        if request.status is Status.RUNNING:
            raise ContractError(f"request {request_id!r} is running")
        answer = self._admission.enter(request, decide_again)
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
        answer = self._admission.make_room(ends)
        if answer is not None:
            return answer
        self.claims.num_steps += 1
        for request, end in ends.items():
            request.peak_blocks = max(request.peak_blocks, request.blocks_for(end))
            while len(request.blocks) < request.blocks_for(end):
                request.blocks.append(self.ledger.take(request.request_id))
        for request, end in ends.items():
            self._admission.know(request, after[request])
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
        self._admission.rows.append(request.row)
        self._admission.give_back(request)

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
        self._admission.give_back(request)

    def swap_out(self, request_id: str) -> int:
        """Take a running request's blocks and keep what it computed on the host; return how many blocks were copied.

        When it resumes, what is no longer cached is copied back.

        Raises
        ------
        ContractError : unknown, not running, or running by a plan.
        """
        request = self._running(request_id)
        if request.plan is not None:
            raise ContractError(f"request {request_id!r} runs by a plan, which says what it keeps")
        request.status = Status.SWAPPED
        num_copied = len(request.blocks)
        self._admission.give_back(request)
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
