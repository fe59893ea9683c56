"""What happens when a demand does not fit: act on claims that permit it, or say who is in the way."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from residentkv.contract.arbiter import ArbiterPolicy, ConflictSnapshot, Plan, arbitrate
from residentkv.contract.claim import ClaimAction, ClaimEvent, ClaimState
from residentkv.contract.decision import ArbiterAction, Deferred, Feasibility, Refused
from residentkv.microruntime.claim import Claim
from residentkv.microruntime.decision import Rule, Verdict, decide, record, sufficient
from residentkv.microruntime.host_tier import HostTier
from residentkv.microruntime.ledger import Ledger
from residentkv.microruntime.request import Demand

_NO_PLAN: Final = Plan(actions=(), sufficient=())


class ConflictDesk:
    """Settles conflicts by one policy.

    Attributes
    ----------
    waiting : deferred requests, with the claims that blocked them; asking again without a change is not said again.
    """

    def __init__(self, ledger: Ledger, tier: HostTier, policy: ArbiterPolicy) -> None:
        self._ledger = ledger
        self._tier = tier
        self._policy = policy
        self.waiting: dict[str, tuple[str, ...]] = {}

    def settle(
        self, demand: Demand, verdict: Verdict, rule: Rule, *, wants_reuse: bool
    ) -> Deferred | Refused | ArbiterAction:
        """Make room, or answer. An action means that claims were acted on so that the demand fits now: ask again."""
        plan = self._plan(demand, verdict, rule)
        by_number = {claim.number: claim for claim in self._ledger.claims.values()}
        if plan.actions:
            return self._act([(by_number[number], action) for number, action in plan.actions])
        enough = [by_number[number] for number in plan.sufficient]
        numbers = record(self._ledger.facts(), demand, verdict, enough, wants_reuse=wants_reuse)
        fields = {"request_id": demand.request_id, **numbers.as_fields()}
        before = self.waiting.pop(demand.request_id, None)
        if verdict.action is not ArbiterAction.DEFER_ACTIVE:
            self._ledger.journal.say("active_request_refused", fields)
            self._preserved(demand, verdict)
            return Refused(demand.request_id, numbers)
        self.waiting[demand.request_id] = numbers.blocking_claim_ids
        if before != numbers.blocking_claim_ids:
            self._ledger.journal.say("active_request_deferred", fields)
        if before is None:
            self._preserved(demand, verdict)
        return Deferred(demand.request_id, numbers)

    def refuse_for(self, failed: Sequence[Claim], demand: Demand, *, wants_reuse: bool) -> Refused:
        """Refuse a request once because the claims it waited for did not come back; it names them and nobody else."""
        facts = self._ledger.facts()
        verdict = replace(decide(facts, demand), action=ArbiterAction.REFUSE_ACTIVE, blocking=tuple(failed))
        numbers = replace(
            record(facts, demand, verdict, (), wants_reuse=wants_reuse),
            feasibility=Feasibility.INFEASIBLE_RESTORE_CLAIMED_KV,
        )
        self.waiting.pop(demand.request_id, None)
        self._ledger.journal.say("active_request_refused", {"request_id": demand.request_id, **numbers.as_fields()})
        return Refused(demand.request_id, numbers)

    def _plan(self, demand: Demand, verdict: Verdict, rule: Rule) -> Plan:
        if not verdict.blocking:  # larger than the pool, or only requests are in the way: no claim can help
            return _NO_PLAN
        facts = self._ledger.facts()
        by_number = {claim.number: claim for claim in facts.claims}

        def enough(numbers: Sequence[int]) -> tuple[int, ...]:
            order = [by_number[number] for number in numbers]
            return tuple(claim.number for claim in sufficient(facts, demand, order, rule))

        return arbitrate(
            ConflictSnapshot(
                blocking=[claim.number for claim in verdict.blocking],
                values={
                    claim.number: value for claim in facts.claims if (value := claim.spec.expected_value) is not None
                },
                actions={claim.number: self._possible(claim) for claim in verdict.blocking},
                sufficient=enough,
            ),
            self._policy,
        )

    def _possible(self, claim: Claim) -> tuple[ClaimAction, ...]:
        """What may be done to a claim now. Expiry is no answer: a claim whose time is up has ended by itself."""
        can = {
            ClaimAction.OFFLOAD: self._tier.can_offload(claim),
            ClaimAction.DEMOTE: True,
            ClaimAction.EXPIRE: False,
        }
        return tuple(action for action in claim.spec.permitted_actions if can[action])

    def _act(self, actions: Sequence[tuple[Claim, ClaimAction]]) -> ArbiterAction:
        for claim, action in actions:
            if action is ClaimAction.OFFLOAD:
                self._tier.offload(claim)
            else:
                self._ledger.end(claim, ClaimEvent.DEMOTE)
        taken = {action for _, action in actions}
        return ArbiterAction.OFFLOAD_RESIDENT if taken == {ClaimAction.OFFLOAD} else ArbiterAction.RELAX_RESIDENT_CLAIM

    def _preserved(self, demand: Demand, verdict: Verdict) -> None:
        for claim in verdict.blocking:
            if claim.state is ClaimState.MATERIALIZED:
                self._ledger.journal.say("resident_claim_preserved", claim.as_fields(), request_id=demand.request_id)
