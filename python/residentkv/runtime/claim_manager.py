"""Claims as callers see them: submit, renew, release, demote, expire, and what-if."""

from collections.abc import Iterator
from typing import Final

from numpy.typing import ArrayLike

from residentkv import _core
from residentkv.contract.claim import ClaimAction, ClaimEvent, ClaimSpec, ClaimState, Duration, ProtectionMode
from residentkv.contract.decision import Accepted, Explanation, Rejected, RejectReason, Renewal, RenewStatus
from residentkv.contract.errors import ClaimStateError, ContractError
from residentkv.contract.identity import CacheIdentity, ExtraKeys
from residentkv.runtime.int_arrays import Int32Array, as_count, as_extra_keys, as_int32, as_tokens
from residentkv.runtime.live_claim import ClaimView, Deadline, LiveClaim, view_of
from residentkv.runtime.parts import Parts

_NATIVE_MODES: Final = {
    ProtectionMode.SOFT_PRIORITY: _core.MODE_SOFT,
    ProtectionMode.BEST_EFFORT: _core.MODE_BEST_EFFORT,
}


class ClaimManager:
    """The claims of one pool. Get it as `BlockManager.claims`.

    Iterating yields a `ClaimView` of every live claim, in acceptance order; `len` counts them; `in` takes a claim id.
    A claim whose deadline was reached stays protected until somebody asks for room or calls `expire_due`; until then
    it can be renewed.

    Thread safety: none; one call of the manager or its claims at a time, an overlap raises ContractError.
    """

    __slots__ = ("_clock", "_desk", "_native", "_options", "_recorder", "_roots", "_table", "_turn")

    def __init__(self, parts: Parts) -> None:
        self._native = parts.native
        self._options = parts.options
        self._roots = parts.roots
        self._table = parts.table
        self._desk = parts.desk
        self._recorder = parts.recorder
        self._turn = parts.turn
        self._clock = parts.clock

    def submit(self, spec: ClaimSpec) -> Accepted | Rejected:
        """Ask that a prefix stay resident. O(len(spec.tokens) + requests).

        Acceptance evicts nothing. Blocks that are already cached become resident at once.

        Returns
        -------
        Accepted, or Rejected with the numbers: `capacity` (protected and active KV would not fit together), `quota`
        (the owner's quota or the pool's max_protected_blocks), `identity` (block size), `unsupported_mode`
        (offloadable needs a tier, which this release lacks).

        Raises
        ------
        ClaimStateError : a claim of this id is live. Nothing was recorded.
        ContractError : not a ClaimSpec.
        """
        if not isinstance(spec, ClaimSpec):
            raise ContractError(f"submit takes a ClaimSpec, got {spec!r}")
        with self._turn:
            self._table.sync()
            if spec.claim_id in self._table:
                raise ClaimStateError(
                    f"claim {spec.claim_id!r} is live; release it first, or renew it to keep it longer"
                )
            now_ns = self._clock()
            fields = self._recorder.submitted(spec, now_ns)
            answer = self._decide(spec, now_ns)
            if isinstance(answer, Rejected) and self._table.expire_past(now_ns):
                answer = self._decide(spec, now_ns)  # a claim whose time was up must not keep another one out
            if isinstance(answer, Rejected):
                self._recorder.rejected(fields, answer, now_ns)
                return answer
            claim = self._table.live(spec.claim_id)
            self._recorder.accepted(claim.number, fields, spec, claim.generation)
            return answer

    def renew(self, claim_id: str, duration: Duration | None, *, revision: int) -> Renewal:
        """Let a live claim last for `duration` from now; None: until released. O(log claims).

        Idempotent by revision: the submission is revision 0, and only a higher revision than the last one changes
        anything, so a repeated or reordered message does no harm.

        Returns
        -------
        Renewal with status renewed, unchanged (same revision and duration), stale (older revision) or conflict (same
        revision, other duration), and the revision in force.

        Raises
        ------
        ClaimStateError : unknown or ended claim.
        ContractError : revision is not an int >= 0, or an expiring claim would get no duration.
        """
        if type(revision) is not int or revision < 0:
            raise ContractError(f"revision must be an int >= 0, got {revision!r}")
        if duration is not None and not isinstance(duration, Duration):
            raise ContractError(f"duration must be a Duration or None, got {duration!r}")
        with self._turn:
            claim = self._live(claim_id)
            if revision <= claim.revision:
                return Renewal(claim_id, claim.revision, _repeated(claim, duration, revision))
            if duration is None and claim.mode is ProtectionMode.EXPIRING:
                raise ContractError(f"claim {claim_id!r} is expiring and needs a duration; release it to end it")
            self._table.set_deadline(claim, duration, self._clock())
            claim.revision = revision
            return Renewal(claim_id, revision, RenewStatus.RENEWED)

    def release(self, claim_id: str) -> None:
        """End a claim at its owner's wish; its blocks become ordinary cached blocks. O(footprint).

        Raises
        ------
        ClaimStateError : unknown or ended claim.
        """
        with self._turn:
            self._table.end(self._live(claim_id), ClaimEvent.RELEASE, self._clock())

    def demote(self, claim_id: str) -> None:
        """Give a claim's protection up; the event precedes the first loss. O(footprint).

        Raises
        ------
        ClaimStateError : unknown or ended claim, or its mode and allowed_actions do not permit demotion.
        """
        with self._turn:
            claim = self._live(claim_id)
            if ClaimAction.DEMOTE not in claim.actions:
                raise ClaimStateError(
                    f"claim {claim_id!r} is {claim.mode.value} and does not permit demotion; its owner can release it"
                )
            self._table.end(claim, ClaimEvent.DEMOTE, self._clock())

    def expire_due(self) -> tuple[str, ...]:
        """Expire every claim whose deadline has been reached, and return their ids. O(claims with a deadline).

        Calling it is not required: a call that needs room expires what is due first.
        """
        with self._turn:
            return self._table.expire_past(self._clock())

    def explain(
        self,
        tokens: ArrayLike,
        *,
        max_new_tokens: int | None = None,
        identity: CacheIdentity | None = None,
        extra_keys: ExtraKeys | None = None,
    ) -> Explanation:
        """What `BlockManager.admit` would answer now, whom that displaces and who is in the way. Changes nothing.

        O(blocks of the request), plus O(claims in the way) if it does not fit.

        Raises
        ------
        ContractError : as `admit`.
        """
        with self._turn:
            self._table.sync()
            demand = (
                self._roots.number(identity),
                as_tokens(tokens),
                -1 if max_new_tokens is None else as_count("max_new_tokens", max_new_tokens),
                as_extra_keys(extra_keys),
            )
            past_due = {claim.number for claim in self._table.past_due(self._clock())}
            return self._desk.explain(self._native.conflict(*demand), past_due)

    def get(self, claim_id: str) -> ClaimView:
        """A live claim's terms, state and survival. O(footprint).

        Raises
        ------
        ClaimStateError : unknown or ended claim; the message says how it ended.
        """
        with self._turn:
            claim = self._live(claim_id)
            return view_of(claim, self._native.claim_facts(claim.number))

    def state(self, claim_id: str) -> ClaimState:
        """State of a claim's last accepted life, ended or not.

        Raises
        ------
        ClaimStateError : no claim of this id was ever accepted.
        """
        with self._turn:
            self._table.sync()
            return self._table.state(claim_id)

    def blocks(self, claim_id: str) -> Int32Array:
        """Block ids of a live claim's footprint by position, -1 where not computed; a copy. O(footprint).

        Raises
        ------
        ClaimStateError : unknown or ended claim.
        """
        with self._turn:
            return self._native.claim_blocks(self._live(claim_id).number)

    def __iter__(self) -> Iterator[ClaimView]:
        with self._turn:
            self._table.sync()
            views = [view_of(claim, self._native.claim_facts(claim.number)) for claim in self._table]
        return iter(views)

    def __len__(self) -> int:
        with self._turn:
            self._table.sync()
            return len(self._table)

    def __contains__(self, claim_id: object) -> bool:
        with self._turn:
            self._table.sync()
            return claim_id in self._table

    def _live(self, claim_id: str) -> LiveClaim:
        self._table.sync()
        return self._table.live(claim_id)

    def _decide(self, spec: ClaimSpec, now_ns: int) -> Accepted | Rejected:
        """Accept the claim natively and take it into the table, or say what forbids it; then nothing changed."""
        if rejection := self._rejection(spec):
            return rejection
        footprint = spec.num_footprint_blocks
        deadline = Deadline.after(spec.duration, self._native.counts(), now_ns)
        answer = self._native.accept_claim(
            root=self._roots.number(spec.cache_identity),
            tokens=as_int32("tokens", spec.tokens)[: footprint * self._options.block_size],
            extra_keys=spec.extra_keys,
            footprint_blocks=footprint,
            predicate_start=spec.predicate.start,
            predicate_blocks=spec.predicate.num_blocks,
            mode=_NATIVE_MODES.get(spec.mode, _core.MODE_PROTECTING),
            max_protected_blocks=self._options.protected_limit,
            deadline_step=deadline.step,
            deadline_allocations=deadline.allocations,
            deadline_ns=deadline.nanoseconds,
            now_ns=now_ns,
        )
        if answer.outcome == _core.CLAIM_ACCEPTED:
            claim = self._table.add(spec, answer, deadline)
            return Accepted(spec.claim_id, claim.generation, claim.state, answer.protected_blocks)
        if answer.outcome == _core.CLAIM_OVER_BUDGET:
            numbers = {
                "protected_blocks_with_claim": answer.protected_blocks,
                "max_protected_blocks": self._options.protected_limit,
            }
            return Rejected(spec.claim_id, RejectReason.QUOTA, numbers)
        numbers = {
            "usable_blocks": self._options.usable_blocks,
            "protected_blocks_with_claim": answer.protected_blocks,
            "protected_and_held_blocks_with_claim": answer.protected_union_held_blocks,
            "protected_and_largest_request_blocks_with_claim": answer.largest_union_blocks,
        }
        return Rejected(spec.claim_id, RejectReason.CAPACITY, numbers)

    def _rejection(self, spec: ClaimSpec) -> Rejected | None:
        """What forbids the claim whatever the pool looks like."""
        if spec.mode is ProtectionMode.OFFLOADABLE:
            return Rejected(spec.claim_id, RejectReason.UNSUPPORTED_MODE, {"mode": spec.mode.value, "tiers": 0})
        if spec.cache_identity.block_size != self._options.block_size:
            numbers = {
                "identity_block_size": spec.cache_identity.block_size,
                "pool_block_size": self._options.block_size,
            }
            return Rejected(spec.claim_id, RejectReason.IDENTITY, numbers)
        quota = self._options.quota_blocks.get(spec.owner_scope)
        charged = self._table.owner_blocks(spec.owner_scope)
        if quota is not None and spec.mode.is_protecting and charged + spec.num_footprint_blocks > quota:
            quota_numbers: dict[str, int | str] = {
                "owner_scope": spec.owner_scope,
                "quota_blocks": quota,
                "charged_blocks": charged,
                "footprint_blocks": spec.num_footprint_blocks,
            }
            return Rejected(spec.claim_id, RejectReason.QUOTA, quota_numbers)
        return None


def _repeated(claim: LiveClaim, duration: Duration | None, revision: int) -> RenewStatus:
    if revision < claim.revision:
        return RenewStatus.STALE
    return RenewStatus.UNCHANGED if duration == claim.duration else RenewStatus.CONFLICT
