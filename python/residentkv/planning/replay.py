"""Drives a real BlockManager with a request trace under a simulated clock: continuous batching with chunked prefill.

Note [What is real here]: every admission, plan, commit, eviction, deferral and refusal is the manager's own, made with
all tokens. What is imagined is how long a step takes (`service_model.py`) and what is generated. Decisions depend on
the trace and the options only: timestamps are the simulated clock, so two replays write the same events, byte for byte.

Requests wait first come, first served. A deferred head is asked again only after something was given back, because
nothing else can have made room for it.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

import numpy as np

from residentkv._core import StepPlan
from residentkv.contract.arbiter import RELAX_LEAST_VALUE, ArbiterPolicy
from residentkv.contract.decision import Admitted, Deferred, NeedsRoom, Refused
from residentkv.contract.errors import ContractError, InvariantError
from residentkv.contract.events import EventSink
from residentkv.contract.identity import CacheIdentity
from residentkv.planning.decode_batch import DecodeBatch
from residentkv.planning.planned_claim import ClaimDesk, PlannedClaim
from residentkv.planning.replay_statistics import OccupancySample, ReplayStatistics
from residentkv.planning.replayed_request import ReplayedRequest
from residentkv.planning.request_trace import TraceRequest
from residentkv.planning.seen_prefixes import SeenPrefixes
from residentkv.planning.service_model import ServiceModel
from residentkv.runtime.block_manager import BlockManager
from residentkv.runtime.pool_options import PoolOptions

if TYPE_CHECKING:
    from typing_extensions import Self

_P = ParamSpec("_P")
_T = TypeVar("_T")

_SAMPLE_NS: Final = 1_000_000_000  # the pool is looked at once per simulated second
_CHECK_NS: Final = 60_000_000_000  # and checked from end to end once per simulated minute


def replay_identity(block_size: int) -> CacheIdentity:
    """Identity of all requests and claims of a replay: a trace knows one model and one tenant."""
    return CacheIdentity("replay", "trace", "trace", "trace", block_size, "none")


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay with.

    Parameters
    ----------
    usable_blocks, block_size : of the pool.
    max_tokens_per_step : tokens computed in one step; decodes come first, prompts share the rest, oldest first.
    max_running : requests that hold blocks at the same time.
    seed : names the run and seeds the prefix index; it changes no decision.
    """

    usable_blocks: int = 65_536
    block_size: int = 16
    max_tokens_per_step: int = 8_192
    max_running: int = 256
    service: ServiceModel = field(default_factory=ServiceModel)
    policy: ArbiterPolicy = RELAX_LEAST_VALUE
    seed: int = 0
    block_events: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.max_running <= self.max_tokens_per_step:
            raise ContractError(
                f"max_running={self.max_running} outside [1, max_tokens_per_step={self.max_tokens_per_step}]"
            )


class Replay:
    """One run over one trace. Use once.

    Parameters
    ----------
    requests : by arrival.
    claims : submitted when their time comes.
    sinks : where the manager's events go.
    """

    def __init__(
        self,
        requests: Sequence[TraceRequest],
        options: ReplayOptions,
        *,
        claims: Sequence[PlannedClaim] = (),
        sinks: Sequence[EventSink] = (),
    ) -> None:
        self._options = options
        self._now_ns = 0
        self._manager = BlockManager(
            PoolOptions(
                options.usable_blocks,
                block_size=options.block_size,
                max_requests=options.max_running,
                max_blocks_per_request=options.usable_blocks,
                block_events=options.block_events,
            ),
            identity=replay_identity(options.block_size),
            sinks=sinks,
            clock=lambda: self._now_ns,
            policy=options.policy,
            run_id=f"replay-seed-{options.seed}",
            hash_seed=options.seed,
        )
        self._arriving = deque(requests)
        self._waiting: deque[ReplayedRequest] = deque()
        self._running: dict[str, ReplayedRequest] = {}  # by admission
        self._prefilling: list[ReplayedRequest] = []
        self._decoding = DecodeBatch()
        self._deferred: set[str] = set()
        self._can_admit = True  # nothing was given back since the head was deferred
        self._seen = SeenPrefixes(options.block_size)
        self._next_sample_ns = self._next_check_ns = 0
        self.statistics = ReplayStatistics(num_requests=len(requests))
        self._claims = ClaimDesk(claims, self._manager.claims, self.statistics)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *raised: object) -> None:
        self._manager.close()

    def run(self, on_progress: Callable[[int], object] | None = None) -> ReplayStatistics:
        """Replay to the end.

        Parameters
        ----------
        on_progress : called about once per simulated second with the number of requests that are not over.

        Raises
        ------
        InvariantError : the manager's books contradict themselves.
        """
        began = time.perf_counter_ns()
        while self._arriving or self._waiting or self._running:
            self._arrive()
            self._claims.submit_due(self._now_ns)
            self._admit()
            if self._running:
                self._step()
            elif self._arriving:
                self._now_ns = max(self._now_ns, self._arriving[0].arrival_ns)
            else:
                self.statistics.num_left_waiting = len(self._waiting)
                break  # nobody will give back what the head waits for
            if self._now_ns >= self._next_sample_ns:
                self._sample()
                if on_progress is not None:
                    on_progress(len(self._arriving) + len(self._waiting) + len(self._running))
        self._sample()
        self._manager.pool.check_invariants()
        self._claims.close()
        self.statistics.num_evictions = self._manager.pool.counts().num_evictions
        self.statistics.simulated_ns = self._now_ns
        self.statistics.wall_ns = time.perf_counter_ns() - began
        return self.statistics

    # --- one turn ---

    def _arrive(self) -> None:
        while self._arriving and self._arriving[0].arrival_ns <= self._now_ns:
            source = self._arriving.popleft()
            self._waiting.append(ReplayedRequest(source, f"request-{source.number}"))
            self._can_admit = self._can_admit or len(self._waiting) == 1

    def _admit(self) -> None:
        while self._can_admit and self._waiting and len(self._running) < self._options.max_running:
            request = self._waiting[0]
            answer = self._ask(request)
            if isinstance(answer, Deferred):
                self._can_admit = False
                self._note_deferral(answer)
                return
            self._waiting.popleft()
            if isinstance(answer, Refused):
                self.statistics.refusals[answer.record.feasibility.value] += 1
                self._claims.blocked(answer.record.blocking_claim_ids, "num_refusals")
                continue
            if request.num_generated == 0 and request.row < 0:
                self._note_admission(request, answer)
            request.start(answer)
            self._running[request.request_id] = request
            self._prefilling.append(request)

    def _ask(self, request: ReplayedRequest) -> Admitted | Deferred | Refused:
        if request.row >= 0:
            return self._timed("resume", self._manager.resume, request.request_id)
        prompt = request.source.prompt
        return self._timed(
            "admit",
            self._manager.admit,
            request.request_id,
            prompt.tokens(),
            max_new_tokens=request.source.num_output_tokens,
        )

    def _step(self) -> None:
        shares = self._share_out()
        while True:
            rows = np.concatenate((self._decoding.rows, np.array([share[0].row for share in shares], np.int32)))
            counts = np.ones(len(rows), np.int32)
            counts[len(self._decoding) :] = [num_tokens for _, num_tokens in shares]
            plan = self._timed("plan_step", self._manager.plan_step, rows, counts)
            if isinstance(plan, StepPlan):
                break
            if isinstance(plan, Refused):
                raise InvariantError(f"{plan.request_id} may not grow within the tokens it was admitted for")
            self._preempt_latest(plan)
            shares = self._share_out()
        num_prefill = sum(num_tokens for _, num_tokens in shares)
        self._now_ns += self._options.service.step_ns(num_prefill, len(self._decoding))
        fed = [self._decoding.tokens, *(request.write(num_tokens) for request, num_tokens in shares)]
        self._timed("commit_step", self._manager.commit_step, plan.step_id, token_ids=np.concatenate(fed))
        self.statistics.num_steps += 1
        self.statistics.computed_tokens += num_prefill
        self.statistics.generated_tokens += len(self._decoding)
        for request in self._decoding.advance():
            self._finish(request)
        for request, _ in shares:
            if request.num_pending == 0:
                self._prefilled(request)

    def _share_out(self) -> list[tuple[ReplayedRequest, int]]:
        budget = self._options.max_tokens_per_step - len(self._decoding)
        shares = []
        for request in self._prefilling:
            if budget <= 0:
                break
            num_tokens = min(request.num_pending, budget)
            budget -= num_tokens
            shares.append((request, num_tokens))
        return shares

    def _prefilled(self, request: ReplayedRequest) -> None:
        """The step that wrote the last known token generated the next one."""
        self._prefilling.remove(request)
        self._seen.add(request.source.prompt)
        if request.num_generated == 0:
            self.statistics.first_token_ns.append(self._now_ns - request.source.arrival_ns)
        request.num_generated += 1
        self.statistics.generated_tokens += 1
        if request.num_left:
            self._decoding.join(request)
        else:
            self._finish(request)

    def _finish(self, request: ReplayedRequest) -> None:
        self._timed("finish", self._manager.finish, request.request_id)
        del self._running[request.request_id]
        self.statistics.num_finished += 1
        self._can_admit = True

    def _preempt_latest(self, cause: NeedsRoom) -> None:
        request_id, request = self._running.popitem()
        if not self._running:
            raise InvariantError(f"{request_id} alone lacks {cause.shortfall} blocks of what it was promised")
        if request in self._decoding:
            self._decoding.leave(request)
        else:
            self._prefilling.remove(request)
        self._timed("preempt", self._manager.preempt, request_id)
        request.num_written = 0
        self._waiting.appendleft(request)
        self.statistics.num_preempted += 1
        self._can_admit = True

    # --- notes ---

    def _note_admission(self, request: ReplayedRequest, admitted: Admitted) -> None:
        prompt, statistics = request.source.prompt, self.statistics
        statistics.prompt_tokens += prompt.num_tokens
        statistics.cached_tokens += admitted.num_cached_tokens
        statistics.recomputed_tokens += max(0, self._seen.num_tokens(prompt) - admitted.num_cached_tokens)
        self._claims.reused(prompt, admitted.num_cached_tokens)

    def _note_deferral(self, deferred: Deferred) -> None:
        if deferred.request_id in self._deferred:
            return
        self._deferred.add(deferred.request_id)
        self.statistics.num_deferred += 1
        self.statistics.deferrals["claims" if deferred.record.blocking_claim_ids else "active_requests"] += 1
        self._claims.blocked(deferred.record.blocking_claim_ids, "num_deferrals")

    def _sample(self) -> None:
        counts = self._manager.pool.counts()
        if counts.free + counts.cached + counts.active + counts.resident_idle != counts.usable:
            raise InvariantError(f"INV-1: the pool of {counts.usable} blocks does not add up at {self._now_ns} ns")
        if self._now_ns >= self._next_check_ns:
            self._manager.pool.check_invariants()
            self._next_check_ns = self._now_ns + _CHECK_NS
        self.statistics.occupancy.append(
            OccupancySample(
                at_ns=self._now_ns,
                free=counts.free,
                cached=counts.cached,
                active=counts.active,
                resident_idle=counts.resident_idle,
                reserved=counts.reserved,
                num_running=len(self._running),
                num_waiting=len(self._waiting),
            )
        )
        self._next_sample_ns = self._now_ns + _SAMPLE_NS
        self._timed("flush", self._manager.events.flush)

    def _timed(self, name: str, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        began = time.perf_counter_ns()
        answer = call(*args, **kwargs)
        self.statistics.manager_ns[name] += time.perf_counter_ns() - began
        return answer
