"""Every live claim, and the only place where one changes its state.

Invariants: (1) the table's claims are exactly the native core's regions once `sync` has run. (2) A state changes
through `contract.claim.advance` only. (3) An ending is recorded natively before protection ends. (4) An owner's charge
is the sum of the footprints of its live protecting claims.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from residentkv import _core
from residentkv.contract.claim import ClaimAction, ClaimEvent, ClaimSpec, ClaimState, Duration, advance
from residentkv.contract.errors import ClaimStateError, InvariantError
from residentkv.runtime.event_recorder import EventRecorder
from residentkv.runtime.live_claim import Deadline, LiveClaim

_ENDING_EVENTS: Final = {
    ClaimEvent.DEMOTE: "resident_claim_demoted",
    ClaimEvent.EXPIRE: "resident_claim_expired",
    ClaimEvent.RELEASE: "resident_claim_released",
}
_NOTICED: Final = {
    "resident_claim_materialized": ClaimEvent.MATERIALIZE,
    "resident_claim_harmed": ClaimEvent.HARM,
}


class ClaimTable:
    """Live claims by id and by native number, with what arbitration and quotas need at hand.

    Attributes
    ----------
    by_number, ids : live claims by native number, and their ids, in acceptance order.
    values : predicted_value * confidence by number, of claims that declared one.
    actions : what an arbiter may do now, by number, of claims that permit anything now. A claim that permits expiry is
        not among them: before its deadline expiry is no answer to a conflict, and after it no arbiter is needed.
    """

    __slots__ = (
        "_by_id",
        "_ended",
        "_native",
        "_owner_blocks",
        "_protecting",
        "_recorder",
        "_reports_losses",
        "_timed",
        "actions",
        "by_number",
        "ids",
        "values",
    )

    def __init__(self, native: _core.BlockManager, recorder: EventRecorder, *, reports_losses: bool) -> None:
        self._native = native
        self._recorder = recorder
        self._reports_losses = reports_losses
        self._by_id: dict[str, LiveClaim] = {}
        self._ended: dict[str, tuple[int, ClaimState]] = {}  # every id ever accepted: last generation, and how it ended
        self._timed: dict[int, LiveClaim] = {}
        self._owner_blocks: dict[str, int] = {}
        self._protecting: tuple[str, ...] | None = None
        self.by_number: dict[int, LiveClaim] = {}
        self.ids: dict[int, str] = {}
        self.values: dict[int, float] = {}
        self.actions: dict[int, tuple[ClaimAction, ...]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[LiveClaim]:
        return iter(tuple(self._by_id.values()))

    def __contains__(self, claim_id: object) -> bool:
        return claim_id in self._by_id

    @property
    def protecting_ids(self) -> tuple[str, ...]:
        """Ids of the claims whose footprints make up P, in acceptance order. O(claims) after a change, else O(1)."""
        if self._protecting is None:
            self._protecting = tuple(claim.claim_id for claim in self.by_number.values() if claim.mode.is_protecting)
        return self._protecting

    def live(self, claim_id: str) -> LiveClaim:
        """A live claim by its id.

        Raises
        ------
        ClaimStateError : never accepted, or ended; the message says which.
        """
        claim = self._by_id.get(claim_id)
        if claim is not None:
            return claim
        if claim_id in self._ended:
            generation, state = self._ended[claim_id]
            raise ClaimStateError(
                f"claim {claim_id!r} generation {generation} is {state.value}; submit it again to claim the prefix"
            )
        raise ClaimStateError(f"claim {claim_id!r} is unknown: it was never accepted")

    def state(self, claim_id: str) -> ClaimState:
        """State of the last accepted life of a claim, ended or not.

        Raises
        ------
        ClaimStateError : never accepted.
        """
        if claim_id in self._ended and claim_id not in self._by_id:
            return self._ended[claim_id][1]
        return self.live(claim_id).state

    def owner_blocks(self, owner_scope: str) -> int:
        """Footprint blocks of the owner's live protecting claims."""
        return self._owner_blocks.get(owner_scope, 0)

    # --- transitions ---

    def sync(self) -> None:
        """Learn what happened natively since the last call: claims that materialized or were harmed. O(those)."""
        for notice in self._native.take_claim_notices():
            claim = self.by_number.get(notice.claim)
            if claim is None:
                raise InvariantError(f"a native notice names claim {notice.claim}, which is not live here")
            event = _NOTICED[notice.kind]
            claim.state = advance(claim.state, event)
            if event is ClaimEvent.HARM:
                self._remove(claim)

    def add(self, spec: ClaimSpec, answer: _core.ClaimAnswer, deadline: Deadline) -> LiveClaim:
        """Take in a claim that the native core accepted. REQUIRES: its id is not live."""
        generation = self._ended.get(spec.claim_id, (0, ClaimState.REJECTED))[0] + 1
        claim = LiveClaim(spec, answer.claim, generation, deadline)
        if answer.materialized:
            claim.state = advance(claim.state, ClaimEvent.MATERIALIZE)
        self._by_id[claim.claim_id] = claim
        self.by_number[claim.number] = claim
        self.ids[claim.number] = claim.claim_id
        self._charge(claim.owner_scope, claim.charged_blocks)
        self._protecting = None
        if claim.expected_value is not None:
            self.values[claim.number] = claim.expected_value
        if ClaimAction.DEMOTE in claim.actions:
            self.actions[claim.number] = (ClaimAction.DEMOTE,)
        if claim.duration is not None:
            self._timed[claim.number] = claim
        return claim

    def end(self, claim: LiveClaim, event: ClaimEvent, now_ns: int) -> None:
        """Demote, expire or release a live claim: the event first, then protection ends. O(footprint).

        Raises
        ------
        ClaimStateError : the life cycle does not allow it.
        """
        state = advance(claim.state, event)
        if self._reports_losses:
            self._recorder.ending(claim.number)
        self._native.end_claim(claim.number, _ENDING_EVENTS[event], now_ns)
        claim.state = state
        self._remove(claim)

    def demote_all(self, now_ns: int) -> None:
        """Demote every live claim, whatever its mode permits: all content is about to go. O(sum of footprints)."""
        self.sync()
        for claim in self:
            self.end(claim, ClaimEvent.DEMOTE, now_ns)

    def set_deadline(self, claim: LiveClaim, duration: Duration | None, now_ns: int) -> None:
        """Let a live claim last for `duration` from now; None: until it is ended."""
        deadline = Deadline.after(duration, self._native.counts(), now_ns)
        self._native.set_deadline(claim.number, *deadline)
        claim.duration, claim.deadline = duration, deadline
        if duration is None:
            self._timed.pop(claim.number, None)
        else:
            self._timed[claim.number] = claim

    def expire_due(self, now_ns: int) -> None:
        """Expire the claims that the native core named when it answered DEADLINE_DUE."""
        self.sync()
        due = self._native.due_claims().tolist()
        if not due:
            raise InvariantError("the native core waits for a deadline that no claim has")
        self._expire((self.by_number[number] for number in due), now_ns)

    def expire_past(self, now_ns: int) -> tuple[str, ...]:
        """Expire every claim whose deadline has been reached. Returns their ids. O(claims with a deadline)."""
        self.sync()
        past = self.past_due(now_ns)
        self._expire(past, now_ns)
        return tuple(claim.claim_id for claim in past)

    def past_due(self, now_ns: int) -> list[LiveClaim]:
        """Live claims whose deadline has been reached, in acceptance order. O(claims with a deadline)."""
        if not self._timed:
            return []
        counts = self._native.counts()
        return [
            self._timed[number]
            for number in sorted(self._timed)
            if self._timed[number].deadline.is_past(counts, now_ns)
        ]

    def _expire(self, claims: Iterable[LiveClaim], now_ns: int) -> None:
        for claim in claims:
            self.end(claim, ClaimEvent.EXPIRE, now_ns)

    def _remove(self, claim: LiveClaim) -> None:
        del self._by_id[claim.claim_id]
        del self.by_number[claim.number], self.ids[claim.number]
        self._ended[claim.claim_id] = (claim.generation, claim.state)
        for by_number in (self._timed, self.values, self.actions):
            by_number.pop(claim.number, None)
        self._charge(claim.owner_scope, -claim.charged_blocks)
        self._protecting = None

    def _charge(self, owner_scope: str, blocks: int) -> None:
        charged = self.owner_blocks(owner_scope) + blocks
        if charged > 0:
            self._owner_blocks[owner_scope] = charged
        else:
            self._owner_blocks.pop(owner_scope, None)
