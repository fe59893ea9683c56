"""Repeating a native call that found no room, until it is served or there is an answer for the scheduler."""

from collections.abc import Callable

from residentkv import _core
from residentkv.contract.decision import Deferred, NeedsRoom, Refused
from residentkv.runtime.claim_table import ClaimTable
from residentkv.runtime.conflict_desk import ConflictDesk, Waiter
from residentkv.runtime.event_log import EventLog
from residentkv.runtime.int_arrays import Int32Array
from residentkv.runtime.request_names import RequestNames


class RoomMaker:
    """Expires what is due, lets the conflict desk act on claims, and tries again. Each turn of a loop ends a claim, so loops end."""

    __slots__ = ("_clock", "_desk", "_log", "_native", "_requests", "_table")

    def __init__(
        self,
        native: _core.BlockManager,
        table: ClaimTable,
        desk: ConflictDesk,
        log: EventLog,
        requests: RequestNames,
        clock: Callable[[], int],
    ) -> None:
        self._native = native
        self._table = table
        self._desk = desk
        self._log = log
        self._requests = requests
        self._clock = clock

    def admit(
        self,
        waiter: Waiter,
        decision: _core.Decision,
        attempt: Callable[[int], _core.Decision],
        conflict: Callable[[], _core.Conflict],
    ) -> _core.Decision | Deferred | Refused:
        """Bring an admission to its end.

        Parameters
        ----------
        decision : answer to the first attempt.
        attempt : tries again, given the time in nanoseconds.
        conflict : looks at what is in the way.

        Returns
        -------
        The decision that admitted the request, or the answer for the scheduler.
        """
        acted_on_claims = False
        while decision.outcome != _core.ADMITTED:
            now_ns = self._clock()
            if decision.outcome == _core.DEADLINE_DUE:
                self._table.expire_due(now_ns)
            else:
                answer = self._desk.settle(waiter, conflict(), now_ns)
                if answer is not None:
                    return answer
                acted_on_claims = True
            decision = attempt(now_ns)
        self._desk.admitted(waiter.request_id)
        if acted_on_claims:
            self._log.relaxed_for(waiter.key)
        return decision

    def plan_step(
        self,
        rows: Int32Array,
        num_tokens: Int32Array,
        out: _core.StepBuffers | None,
        shortage: _core.StepShortage,
    ) -> _core.StepPlan | NeedsRoom | Refused:
        """Bring a step that was answered with a shortage to its end.

        Claims are acted on only for a request that can not grow beside them; room that other requests take is the caller's to
        give, by preempting one.
        """
        while True:
            now_ns = self._clock()
            if shortage.deadline_due:
                self._table.expire_due(now_ns)
            elif shortage.refused_row >= 0:
                answer = self._settle_growth(rows, num_tokens, shortage.refused_row, now_ns)
                if answer is not None:
                    return answer
            else:
                return NeedsRoom(self._requests.ids_of(shortage.rows.tolist()), shortage.shortfall)
            result = self._native.plan_step(rows, num_tokens, now_ns, out)
            if isinstance(result, _core.StepPlan):
                return result
            shortage = result

    def _settle_growth(self, rows: Int32Array, num_tokens: Int32Array, row: int, now_ns: int) -> Refused | None:
        growth = int(num_tokens[rows.tolist().index(row)])
        waiter = self._requests.waiter(self._requests.by_row[row])
        answer = self._desk.settle(waiter, self._native.conflict_of_row(row, growth), now_ns)
        if isinstance(answer, Deferred):
            raise InvariantError(f"row {row} was refused growth by {growth} tokens, but nothing refuses it")
        return answer
