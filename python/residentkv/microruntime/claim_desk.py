"""The calls about claims: submit, renew, release, demote, expire."""

from collections.abc import Iterator

from residentkv.contract.claim import ClaimAction, ClaimEvent, ClaimSpec, ClaimState, Duration, ProtectionMode
from residentkv.contract.decision import Accepted, Rejected, RejectReason, Renewal, RenewStatus
from residentkv.contract.errors import ClaimStateError, ContractError
from residentkv.microruntime.claim import Claim, Deadline, Moment, spec_fields
from residentkv.microruntime.decision import Sizes, sizes_with
from residentkv.microruntime.ledger import Ledger
from residentkv.microruntime.node import Node
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.request import Demand, Request


class ClaimDesk:
    """The claims of a model. Get it as `MicroRuntime.claims`; iterating yields the live ones, by acceptance.

    Attributes
    ----------
    num_steps : steps so far, one of the three clocks.
    """

    def __init__(self, options: MicroOptions, ledger: Ledger) -> None:
        self._options = options
        self._ledger = ledger
        self._num_accepted = 0
        self.num_steps = 0

    def __iter__(self) -> Iterator[Claim]:
        return iter(tuple(self._ledger.claims.values()))

    def get(self, claim_id: str) -> Claim:
        """Return a live claim.

        Raises
        ------
        ClaimStateError : it was never accepted, or has ended.
        """
        claim = self._ledger.claims.get(claim_id)
        if claim is None:
            ended = self._ledger.ended.get(claim_id)
            raise ClaimStateError(f"claim {claim_id!r} is {'unknown' if ended is None else ended.state.value}")
        return claim

    def state(self, claim_id: str) -> ClaimState:
        """Return the state of a claim's last accepted life.

        Raises
        ------
        ClaimStateError : it was never accepted.
        """
        claim = self._ledger.claims.get(claim_id) or self._ledger.ended.get(claim_id)
        return self.get(claim_id).state if claim is None else claim.state

    def submit(self, spec: ClaimSpec) -> Accepted | Rejected:
        """Ask that a prefix stay. What is there becomes resident, the rest is reserved; nothing is evicted.

        Raises
        ------
        ClaimStateError : a claim of this id is live.
        """
        if spec.claim_id in self._ledger.claims:
            raise ClaimStateError(f"claim {spec.claim_id!r} is live")
        fields = spec_fields(spec)
        self._ledger.journal.say("resident_claim_submitted", fields)
        rejection = self._rejection(spec)
        if rejection is not None and self.expire_due():
            rejection = self._rejection(spec)  # a claim whose time was up must not keep another one out
        if rejection is not None:
            outcome = {"reject_reason": rejection.reason.value, "reject_numbers": dict(rejection.numbers)}
            self._ledger.journal.say("resident_claim_rejected", fields, **outcome)
            return rejection
        earlier = self._ledger.ended.get(spec.claim_id)
        claim = Claim(
            spec=spec,
            number=self._num_accepted,
            nodes=self.footprint(spec),
            lifecycle_generation=1 if earlier is None else earlier.lifecycle_generation + 1,
            deadline=Deadline.after(spec.duration, self.now()),
            duration=spec.duration,
            fields=fields,
        )
        self._num_accepted += 1
        self._ledger.accept(claim)
        protected = len(self._ledger.facts().protected)
        return Accepted(claim.claim_id, claim.lifecycle_generation, claim.state, protected)

    def renew(self, claim_id: str, duration: Duration | None, *, revision: int) -> Renewal:
        """Let a live claim last for `duration` from now. Idempotent by revision; the submission is revision 0.

        Raises
        ------
        ClaimStateError : the claim is not live.
        ContractError : a negative revision, or an expiring claim would get no duration.
        """
        claim = self.get(claim_id)
        if revision < 0:
            raise ContractError(f"revision must be an int >= 0, got {revision!r}")
        if revision < claim.revision:
            return Renewal(claim_id, claim.revision, RenewStatus.STALE)
        if revision == claim.revision:
            same = duration == claim.duration
            return Renewal(claim_id, revision, RenewStatus.UNCHANGED if same else RenewStatus.CONFLICT)
        if duration is None and claim.spec.mode is ProtectionMode.EXPIRING:
            raise ContractError(f"claim {claim_id!r} is expiring and needs a duration")
        claim.deadline, claim.duration, claim.revision = Deadline.after(duration, self.now()), duration, revision
        return Renewal(claim_id, revision, RenewStatus.RENEWED)

    def release(self, claim_id: str) -> None:
        """End a claim at its owner's wish.

        Raises
        ------
        ClaimStateError : the claim is not live.
        """
        self._ledger.end(self.get(claim_id), ClaimEvent.RELEASE)

    def demote(self, claim_id: str) -> None:
        """Give a claim's protection up.

        Raises
        ------
        ClaimStateError : the claim is not live, or does not permit it.
        """
        claim = self.get(claim_id)
        if ClaimAction.DEMOTE not in claim.spec.permitted_actions:
            raise ClaimStateError(f"claim {claim_id!r} is {claim.spec.mode.value} and does not permit demotion")
        self._ledger.end(claim, ClaimEvent.DEMOTE)

    def expire_due(self) -> tuple[str, ...]:
        """Expire every claim whose deadline was reached, by acceptance; return their ids."""
        return self._expire([claim for claim in self if claim.deadline.is_past(self.now())])

    def expire_crossed(self, num_steps: int, num_allocations: int) -> bool:
        """Expire the claims that a call of so many steps and allocations would outlast; say whether there were any."""
        now = self.now()
        then = Moment(now.steps + num_steps, now.allocations + num_allocations, now.nanoseconds)
        due = [(crossed, claim.number, claim) for claim in self if (crossed := claim.deadline.crossed(then))]
        return bool(self._expire([claim for _, _, claim in sorted(due)]))

    def now(self) -> Moment:
        """Return where the three clocks stand."""
        return Moment(self.num_steps, self._ledger.pool.num_allocations, self._ledger.journal.clock())

    def footprint(self, spec: ClaimSpec) -> tuple[Node, ...]:
        """Return the nodes a claim names, by position."""
        tokens = tuple(spec.tokens.tolist() if hasattr(spec.tokens, "tolist") else spec.tokens)
        return self._ledger.nodes.chain(
            spec.cache_identity, tokens, spec.num_footprint_blocks, tuple(spec.extra_keys or ())
        )

    def sizes_with(self, nodes: tuple[Node, ...]) -> Sizes:
        """Return what P would be, with `nodes` in it."""
        demands = [self.demand_of(request) for request in self._ledger.requests.values()]
        return sizes_with(self._ledger.facts(), nodes, demands)

    @staticmethod
    def demand_of(request: Request) -> Demand:
        """Return A(r) of an admitted request as a demand."""
        return Demand(request.request_id, request.nodes, 0, 0, request.peak_blocks)

    def _expire(self, claims: list[Claim]) -> tuple[str, ...]:
        for claim in claims:
            self._ledger.end(claim, ClaimEvent.EXPIRE)
        return tuple(claim.claim_id for claim in claims)

    def _rejection(self, spec: ClaimSpec) -> Rejected | None:
        """Say what forbids the claim, with the numbers."""
        options = self._options
        if spec.mode is ProtectionMode.OFFLOADABLE and options.host_blocks == 0:
            return Rejected(spec.claim_id, RejectReason.UNSUPPORTED_MODE, {"mode": spec.mode.value, "tiers": 0})
        sizes = {
            "identity_block_size": spec.cache_identity.block_size,
            "pool_block_size": options.identity.block_size,
        }
        if len(set(sizes.values())) > 1:
            return Rejected(spec.claim_id, RejectReason.IDENTITY, sizes)
        if not spec.mode.is_protecting:
            return None
        quota = options.quota_blocks.get(spec.owner_scope)
        live = [claim.spec for claim in self if claim.spec.mode.is_protecting]
        charged = sum(other.num_footprint_blocks for other in live if other.owner_scope == spec.owner_scope)
        if quota is not None and charged + spec.num_footprint_blocks > quota:
            owner: dict[str, int | str] = {
                "owner_scope": spec.owner_scope,
                "quota_blocks": quota,
                "charged_blocks": charged,
                "footprint_blocks": spec.num_footprint_blocks,
            }
            return Rejected(spec.claim_id, RejectReason.QUOTA, owner)
        with_claim = self.sizes_with(self.footprint(spec))
        limit = options.max_protected_blocks
        if limit is not None and with_claim.protected > limit:
            numbers = {"protected_blocks_with_claim": with_claim.protected, "max_protected_blocks": limit}
            return Rejected(spec.claim_id, RejectReason.QUOTA, numbers)
        if with_claim.fit(options.usable_blocks):
            return None
        return Rejected(
            spec.claim_id,
            RejectReason.CAPACITY,
            {
                "usable_blocks": options.usable_blocks,
                "protected_blocks_with_claim": with_claim.protected,
                "protected_and_held_blocks_with_claim": with_claim.protected_and_held,
                "protected_and_largest_request_blocks_with_claim": with_claim.protected_and_largest,
            },
        )
