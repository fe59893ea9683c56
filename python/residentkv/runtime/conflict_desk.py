"""What happens when a demand does not fit: arbitration over the claims in the way, and the record of how it ended."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np

from residentkv import _core
from residentkv.contract.arbiter import ArbiterPolicy, ConflictSnapshot, Plan, arbitrate
from residentkv.contract.claim import ClaimAction, ClaimEvent, ClaimState
from residentkv.contract.decision import (
    ArbiterAction,
    ConflictRecord,
    Deferred,
    Explanation,
    Feasibility,
    PlannedAction,
    Refused,
)
from residentkv.runtime.claim_table import ClaimTable
from residentkv.runtime.event_recorder import EventRecorder
from residentkv.runtime.request_names import Waiter

_NO_PLAN: Final = Plan(actions=(), sufficient=())
_MOVES: Final = {ClaimAction.DEMOTE: ClaimEvent.DEMOTE, ClaimAction.EXPIRE: ClaimEvent.EXPIRE}
_ANSWERS: Final = {
    _core.ADMITTED: ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT,
    _core.DEFERRED: ArbiterAction.DEFER_ACTIVE,
    _core.REFUSED: ArbiterAction.REFUSE_ACTIVE,
    _core.CAPACITY_REQUIRED: ArbiterAction.CAPACITY_REQUIRED,
}


class ConflictDesk:
    """Settles conflicts by one policy.

    Deferred requests are remembered by the claims that blocked them, so that asking again every step tells the sinks
    nothing new. The memory is bounded: of more than `max_waiting` requests, the one that was deferred longest ago is
    forgotten, and if it asks again that counts as its first time.

    Attributes
    ----------
    waiting : deferred requests, by id, with the claims that blocked them. Whoever admits one takes it out.
    """

    __slots__ = ("_max_waiting", "_native", "_policy", "_recorder", "_table", "_usable_blocks", "waiting")

    def __init__(
        self,
        native: _core.BlockManager,
        table: ClaimTable,
        recorder: EventRecorder,
        policy: ArbiterPolicy,
        *,
        usable_blocks: int,
        max_waiting: int,
    ) -> None:
        self._native = native
        self._table = table
        self._recorder = recorder
        self._policy = policy
        self._usable_blocks = usable_blocks
        self._max_waiting = max_waiting
        self.waiting: dict[str, tuple[str, ...]] = {}

    def settle(self, waiter: Waiter, conflict: _core.Conflict, now_ns: int) -> Deferred | Refused | None:
        """Make room by acting on claims that permit it, or say why the request has to wait or is refused.

        Parameters
        ----------
        conflict : of the demand as it stands; not used after a claim was acted on.

        Returns
        -------
        None if claims were acted on so that the demand fits now: repeat the call that did not fit. Otherwise the
        answer, with its events recorded; no claim was touched.
        """
        self._table.sync()
        decision = conflict.decision
        blocking = conflict.claims.tolist()
        plan = self._plan(conflict, blocking, past_due=[])
        if plan.actions:
            for number, action in plan.actions:
                self._table.end(self._table.by_number[number], _MOVES[action], now_ns)
            return None
        record = self._record(decision, blocking, plan, wants_reuse=waiter.wants_reuse)
        if decision.outcome == _core.DEFERRED:
            self._defer(waiter.request_id, record, blocking, now_ns)
            return Deferred(waiter.request_id, record)
        self.waiting.pop(waiter.request_id, None)
        self._recorder.waits("active_request_refused", waiter.request_id, record, now_ns)
        self._preserve(waiter.request_id, blocking, now_ns)
        return Refused(waiter.request_id, record)

    def explain(self, conflict: _core.Conflict, past_due: AbstractSet[int]) -> Explanation:
        """What a demand would be answered, and what would be done for it. Changes nothing.

        Parameters
        ----------
        past_due : claims whose deadline was reached: they end first, whatever the policy.
        """
        decision = conflict.decision
        blocking = conflict.claims.tolist()
        plan = _NO_PLAN
        if decision.outcome != _core.ADMITTED:
            plan = self._plan(conflict, blocking, past_due=[number for number in blocking if number in past_due])
        fits = decision.outcome == _core.ADMITTED or bool(plan.actions)
        return Explanation(
            decision="admitted" if fits else "deferred" if decision.outcome == _core.DEFERRED else "refused",
            record=self._record(decision, blocking, plan, wants_reuse=True),
            actions=tuple(PlannedAction(self._table.ids[number], action) for number, action in plan.actions),
            num_evicted_blocks=max(0, decision.new_blocks - self._native.counts().free) if fits else 0,
        )

    def _plan(self, conflict: _core.Conflict, blocking: list[int], past_due: list[int]) -> Plan:
        """What would be done: expiries of `past_due`, then what the policy chooses. Changes nothing."""
        if not blocking:  # larger than the pool, or only requests are in the way: no claim can help
            return _NO_PLAN

        in_order, expired = conflict.claims, np.array(past_due, dtype=np.uint32)

        def sufficient(claims: Sequence[int]) -> list[int]:
            order = in_order if claims is blocking else np.array(claims, dtype=np.uint32)
            if past_due:
                order = np.concatenate((expired, order[~np.isin(order, expired)]))
            found = conflict.sufficient(order)
            needed: list[int] = (found[~np.isin(found, expired)] if past_due else found).tolist()
            return needed

        expiries = tuple((number, ClaimAction.EXPIRE) for number in past_due)
        if past_due and conflict.sufficient(expired).size:
            return Plan(actions=expiries, sufficient=tuple(past_due))
        values, actions = self._table.values, self._table.actions
        plan = arbitrate(
            ConflictSnapshot(blocking=blocking, values=values, actions=actions, sufficient=sufficient), self._policy
        )
        return Plan(actions=expiries + plan.actions, sufficient=plan.sufficient) if plan.actions else plan

    def _record(
        self,
        decision: _core.Decision,
        blocking: list[int],
        plan: Plan,
        *,
        wants_reuse: bool,
    ) -> ConflictRecord:
        """The numbers of a decision under the names of the contract. O(blocking claims)."""
        return ConflictRecord(
            active_live_blocks_required=decision.peak_blocks,
            active_live_blocks_current=self._native.counts().active,
            usable_blocks=self._usable_blocks,
            protected_resident_blocks=decision.protected_blocks,
            resident_plus_active_blocks=decision.resident_plus_active_blocks,
            free_blocks_before_allocate=decision.available_blocks,
            capacity_shortfall_blocks=decision.new_blocks - decision.available_blocks,
            feasibility=Feasibility.FEASIBLE
            if decision.protected_union_peak_blocks <= self._usable_blocks
            else Feasibility.INFEASIBLE_PRESERVE_RESIDENT_AND_ACTIVE,
            blocking_claim_ids=self._ids(blocking),
            sufficient_claim_ids=self._ids(plan.sufficient),
            protected_resident_claims=self._table.protecting_ids,
            future_reuse_requested=wants_reuse,
            future_reuse_admitted=wants_reuse and decision.outcome == _core.ADMITTED,
            arbiter_action=_ANSWERS[decision.outcome],
        )

    def _ids(self, numbers: list[int] | tuple[int, ...]) -> tuple[str, ...]:
        return tuple(map(self._table.ids.__getitem__, numbers))

    def _defer(self, request_id: str, record: ConflictRecord, blocking: list[int], now_ns: int) -> None:
        before = self.waiting.pop(request_id, None)
        self.waiting[request_id] = record.blocking_claim_ids
        if len(self.waiting) > self._max_waiting:
            del self.waiting[next(iter(self.waiting))]
        if before == record.blocking_claim_ids:
            return
        self._recorder.waits("active_request_deferred", request_id, record, now_ns)
        if before is None:
            self._preserve(request_id, blocking, now_ns)

    def _preserve(self, request_id: str, blocking: list[int], now_ns: int) -> None:
        if not self._recorder.has_reader:
            return
        for number in blocking:
            if self._table.by_number[number].state is ClaimState.MATERIALIZED:
                self._recorder.preserved(number, request_id, now_ns)
