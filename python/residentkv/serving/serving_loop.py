"""Continuous batching over the block manager, small enough to read in one sitting.

A step is: admit what fits, plan KV slots for a batch of prefill chunks and decodes, run the model, commit. "Not now" is
a value throughout: a deferred request waits at the head of the queue (first come, first served: nobody overtakes it, so
it can not starve), a refused one leaves with the numbers, a step without room preempts the latest admitted request and
is planned again.

Note [Who may hold the loop up]: with `max_new_tokens` given, admission promises that the oldest request can finish
alone (contract.md section 2), so preempting from the back always ends. What nobody promises is room that others hold
outside of this loop; `run` then stops and leaves the head waiting.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from residentkv.contract.decision import Admitted, Deferred, NeedsRoom, Refused
from residentkv.contract.errors import ContractError
from residentkv.runtime.block_manager import BlockManager
from residentkv.serving.model_runner import ModelRunner, PlannedStep
from residentkv.serving.serving_request import (
    Finished,
    FinishReason,
    LoopEvent,
    Preempted,
    ServingRequest,
    TokenGenerated,
)


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """Limits of one step.

    Attributes
    ----------
    max_tokens_per_step : tokens computed in one step; prompts are cut into chunks that fit beside the decodes.
    max_running : requests that hold blocks at the same time; at most max_tokens_per_step, so that every decode has a
        place.
    """

    max_tokens_per_step: int = 256
    max_running: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.max_running <= self.max_tokens_per_step:
            raise ContractError(
                f"max_running={self.max_running} outside [1, max_tokens_per_step={self.max_tokens_per_step}]"
            )


@dataclass(frozen=True, slots=True)
class _Share:
    """One request's part of a step: its next `num_tokens` pending tokens."""

    request: ServingRequest
    num_tokens: int

    @property
    def tokens(self) -> list[int]:
        """Input of the model."""
        begin = self.request.num_written
        return self.request.tokens[begin : begin + self.num_tokens]


class ServingLoop:
    """Waiting and running requests of one manager and one model.

    Invariants: (1) every running request has a row in the manager and at least one pending token. (2) `_running` is in
    order of admission.

    Parameters
    ----------
    manager, runner : the manager's block ids are the rows of the runner's storage.
    clock : seconds, for the time to first token.
    """

    def __init__(
        self,
        manager: BlockManager,
        runner: ModelRunner,
        *,
        options: LoopOptions = LoopOptions(),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._manager = manager
        self._runner = runner
        self._options = options
        self._clock = clock
        self._waiting: deque[ServingRequest] = deque()
        self._running: list[ServingRequest] = []

    @property
    def running(self) -> tuple[ServingRequest, ...]:
        """Requests that hold blocks, oldest admission first."""
        return tuple(self._running)

    @property
    def waiting(self) -> tuple[ServingRequest, ...]:
        """Requests that hold none, next one first."""
        return tuple(self._waiting)

    def submit(self, request: ServingRequest) -> None:
        """Queue a request behind the others. Its time to first token starts now."""
        request.submitted_s = self._clock()
        self._waiting.append(request)

    def run(self) -> Iterator[LoopEvent]:
        """Step until no request is left, or none can go on without room from elsewhere. Yields as things happen."""
        while self._waiting or self._running:
            events = self.step()
            yield from events
            has_left = any(isinstance(event, Finished | Refused) for event in events)
            if not self._running and not has_left:
                return  # nobody here will free what the head is waiting for

    def step(self) -> list[LoopEvent]:
        """Admit, plan, run the model once, commit. Returns what happened, in order; a chunk of a prompt is no event."""
        events = self._admit()
        planned = self._plan(events)
        if planned is not None:
            plan, shares = planned
            events += self._advance(shares, self._compute(plan, shares))
        self._manager.events.flush()
        return events

    def fork(self, parent_id: str, child_id: str, *, next_token: int) -> ServingRequest | Deferred | Refused:
        """Continue a running request a second time, with another token where the parent took its latest one.

        Both share the blocks of everything before that token; whoever writes first into a shared partial block gets a
        copy of it.

        Parameters
        ----------
        parent_id : a running request that is decoding.
        next_token : the child's first own token.

        Returns
        -------
        The child, running; or why there is no room for it, and nothing changed.

        Raises
        ------
        ContractError : the parent is not running or still in its prompt, or max_running requests run already.
        """
        parent = self._find(parent_id)
        if parent.num_pending_tokens != 1 or not parent.generated:
            raise ContractError(f"request {parent_id!r} is not decoding")
        if len(self._running) == self._options.max_running:
            raise ContractError(f"max_running={self._options.max_running} requests run already")
        answer = self._manager.fork(parent_id, child_id)
        if not isinstance(answer, Admitted):
            return answer
        child = ServingRequest(child_id, parent.prompt, parent.max_new_tokens, parent.stop_ids)
        child.tokens = [*parent.tokens[:-1], next_token]
        child.row, child.num_cached_tokens = answer.row, answer.num_cached_tokens
        child.num_written, child.num_known = parent.num_written, parent.num_known
        child.submitted_s = child.first_token_s = self._clock()
        self._running.append(child)
        return child

    def requeue(self, request_ids: Sequence[str]) -> None:
        """Queue running requests that the manager preempted by itself (`invalidate`, `reset`), before all others.

        Raises
        ------
        ContractError : one of them is not running here. Nothing changed.
        """
        for request in [self._find(request_id) for request_id in reversed(request_ids)]:
            self._running.remove(request)
            request.pause()
            self._waiting.appendleft(request)

    def _admit(self) -> list[LoopEvent]:
        events: list[LoopEvent] = []
        while self._waiting and len(self._running) < self._options.max_running:
            request = self._waiting.popleft()  # first: one that the manager rejects with an error must not come again
            answer = self._ask(request)
            if isinstance(answer, Deferred):
                if request.last_deferral is None:
                    events.append(answer)
                request.last_deferral = answer
                self._waiting.appendleft(request)
                break
            events.append(answer)
            if isinstance(answer, Admitted):
                request.last_deferral = None
                request.start(answer)
                self._running.append(request)
            else:
                request.refusal = answer
        return events

    def _ask(self, request: ServingRequest) -> Admitted | Deferred | Refused:
        if request.row is not None:
            return self._manager.resume(request.request_id)
        return self._manager.admit(request.request_id, request.prompt, max_new_tokens=request.max_new_tokens)

    def _plan(self, events: list[LoopEvent]) -> tuple[PlannedStep, list[_Share]] | None:
        """Plan a step for as many running requests as have room, making it by preemption. None when nothing runs."""
        while self._running:
            shares = self._share_out()
            rows = np.array([share.request.row for share in shares], dtype=np.int32)
            answer = self._manager.plan_step(rows, np.array([share.num_tokens for share in shares], dtype=np.int32))
            if isinstance(answer, NeedsRoom):
                events.append(self._preempt_latest(answer))
            elif isinstance(answer, Refused):
                events.append(self._finish(self._find(answer.request_id), FinishReason.NO_ROOM))
            else:
                return answer, shares
        return None

    def _share_out(self) -> list[_Share]:
        """Every decode gets its token; prompts share the rest of the step, oldest first."""
        budget = self._options.max_tokens_per_step - sum(request.num_pending_tokens == 1 for request in self._running)
        shares = []
        for request in self._running:
            num_tokens = request.num_pending_tokens
            if num_tokens > 1:
                num_tokens = min(num_tokens, budget)
                budget -= num_tokens
            if num_tokens > 0:
                shares.append(_Share(request, num_tokens))
        return shares

    def _compute(self, plan: PlannedStep, shares: Sequence[_Share]) -> list[int]:
        """Run the model and commit. If the model fails, take the step back: nothing half-written is ever reused."""
        token_ids = np.concatenate([np.array(share.tokens, dtype=np.int32) for share in shares])
        computed = False
        try:
            next_tokens = self._runner.run(plan, token_ids, [share.num_tokens for share in shares])
            computed = True
        finally:
            if not computed:
                self._manager.fail_step(plan.step_id)
        learned = [share.request.take_written(share.num_tokens) for share in shares]
        self._manager.commit_step(plan.step_id, token_ids=np.concatenate(learned))
        return next_tokens

    def _advance(self, shares: Sequence[_Share], next_tokens: Sequence[int]) -> list[LoopEvent]:
        events: list[LoopEvent] = []
        for share, token in zip(shares, next_tokens, strict=True):
            request = share.request
            if request.num_pending_tokens > 0:
                continue  # in the middle of its prompt: what follows is known
            request.tokens.append(token)
            if request.first_token_s is None:
                request.first_token_s = self._clock()
            events.append(TokenGenerated(request.request_id, token))
            if token in request.stop_ids:
                events.append(self._finish(request, FinishReason.STOP_TOKEN))
            elif len(request.generated) == request.max_new_tokens:
                events.append(self._finish(request, FinishReason.LENGTH))
        return events

    def _preempt_latest(self, cause: NeedsRoom) -> Preempted:
        request = self._running.pop()
        self._manager.preempt(request.request_id)
        request.pause()
        self._waiting.appendleft(request)
        return Preempted(request.request_id, cause)

    def _finish(self, request: ServingRequest, reason: FinishReason) -> Finished:
        self._running.remove(request)
        self._manager.finish(request.request_id)
        request.finish_reason = reason
        return Finished(request.request_id, reason)

    def _find(self, request_id: str) -> ServingRequest:
        for request in self._running:
            if request.request_id == request_id:
                return request
        raise ContractError(f"request {request_id!r} is not running here")
