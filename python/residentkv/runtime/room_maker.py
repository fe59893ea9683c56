"""Repeating a native call that found no room, until it is served or there is an answer for the scheduler."""

from collections.abc import Callable

from residentkv import _core
from residentkv.contract.decision import Deferred, NeedsRoom, Refused
from residentkv.contract.errors import InvariantError
from residentkv.contract.identity import ExtraKeys
from residentkv.runtime.claim_table import ClaimTable
from residentkv.runtime.conflict_desk import ConflictDesk
from residentkv.runtime.event_recorder import EventRecorder
from residentkv.runtime.int_arrays import Int32Array
from residentkv.runtime.request_names import RequestNames, Waiter

Demand = tuple[int, Int32Array, int, ExtraKeys | None]
"""Root, tokens, most new tokens (-1: unknown), extra keys."""


class RoomMaker:
    """Expires what is due, lets the conflict desk act on claims, and tries again.

    Each repetition ends a claim, so there is a last one.
    """

    __slots__ = ("_clock", "_desk", "_native", "_recorder", "_requests", "_table")

    def __init__(
        self,
        native: _core.BlockManager,
        requests: RequestNames,
        table: ClaimTable,
        desk: ConflictDesk,
        recorder: EventRecorder,
        clock: Callable[[], int],
    ) -> None:
        self._native = native
        self._requests = requests
        self._table = table
        self._desk = desk
        self._recorder = recorder
        self._clock = clock

    def admit(self, waiter: Waiter, demand: Demand) -> _core.Decision | Deferred | Refused:
        """Admit a new request, or say why not."""
        return self._until_settled(
            waiter,
            lambda now_ns: self._native.admit(waiter.key, *demand, waiter.wants_reuse, now_ns),
            lambda: self._native.conflict(*demand),
        )

    def resume(self, row: int) -> _core.Decision | Deferred:
        """Admit a preempted request again, or say what it waits for."""
        answer = self._until_settled(
            self._requests.waiter_in(row),
            lambda now_ns: self._native.resume(row, now_ns),
            lambda: self._native.conflict_of_row(row, 0),
        )
        if isinstance(answer, Refused):
            raise InvariantError(f"row {row} was admitted before, and was refused now")
        return answer

    def fork(self, waiter: Waiter, parent_row: int) -> _core.Decision | Deferred | Refused:
        """Admit a child of an admitted request, or say why not."""
        return self._until_settled(
            waiter,
            lambda now_ns: self._native.fork(parent_row, waiter.key, now_ns),
            lambda: self._native.conflict_of_fork(parent_row),
        )

    def plan_step(
        self, rows: Int32Array, num_tokens: Int32Array, out: _core.StepBuffers | None
    ) -> _core.StepPlan | NeedsRoom | Refused:
        """Plan a step, or say who lacks room.

        Claims are acted on only for a request that can not grow beside them, however long it waits. Room that other
        requests take is the caller's to give, by preempting one.
        """
        while True:
            now_ns = self._clock()
            result = self._native.plan_step(rows, num_tokens, now_ns, out)
            if isinstance(result, _core.StepPlan):
                return result
            if result.deadline_due:
                self._table.expire_due(now_ns)
            elif self._table.expire_past(now_ns):  # for example used up its allocations: one more would have crossed it
                continue
            elif result.refused_row < 0:
                return NeedsRoom(self._requests.ids_of(result.rows.tolist()), result.shortfall)
            else:
                growth = int(num_tokens[rows.tolist().index(result.refused_row)])
                answer = self._settle_growth(result.refused_row, growth, now_ns)
                if answer is not None:
                    return answer

    def _until_settled(
        self,
        waiter: Waiter,
        attempt: Callable[[int], _core.Decision],
        conflict: Callable[[], _core.Conflict],
    ) -> _core.Decision | Deferred | Refused:
        acted_on_claims = False
        while True:
            now_ns = self._clock()
            decision = attempt(now_ns)
            if decision.outcome == _core.ADMITTED:
                break
            if decision.outcome == _core.DEADLINE_DUE:
                self._table.expire_due(now_ns)
                continue
            if self._table.expire_past(now_ns):  # for example used up its allocations: the next one would cross it
                continue
            answer = self._desk.settle(waiter, conflict(), now_ns)
            if answer is not None:
                return answer
            acted_on_claims = True
        self._desk.waiting.pop(waiter.request_id, None)
        if acted_on_claims:
            self._recorder.relaxed_for(waiter.key)
        return decision

    def _settle_growth(self, row: int, num_tokens: int, now_ns: int) -> Refused | None:
        waiter = self._requests.waiter_in(row)
        answer = self._desk.settle(waiter, self._native.conflict_of_row(row, num_tokens), now_ns)
        if isinstance(answer, Deferred):
            raise InvariantError(f"row {row} may not grow by {num_tokens} tokens, but nothing refuses it")
        return answer
