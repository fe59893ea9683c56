"""Claims that a replay submits when their time comes, and what each of them did for the traffic."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from residentkv.contract.claim import ClaimSpec
from residentkv.contract.decision import Rejected
from residentkv.planning.replay_statistics import ClaimLedger, ReplayStatistics
from residentkv.planning.request_trace import Prompt
from residentkv.runtime.claim_manager import ClaimManager

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PlannedClaim:
    """A claim and the moment, on the trace's clock, at which it is submitted."""

    at_ns: int
    spec: ClaimSpec


class ClaimDesk:
    """Submits planned claims and keeps their ledger.

    Parameters
    ----------
    claims : in any order.
    manager : takes the claims.
    statistics : where the ledgers are.
    """

    def __init__(self, claims: Sequence[PlannedClaim], manager: ClaimManager, statistics: ReplayStatistics) -> None:
        self._due = deque(sorted(claims, key=lambda claim: claim.at_ns))
        self._manager = manager
        self._ledgers = statistics.claims
        self._by_first_token: dict[int, list[tuple[ClaimSpec, NDArray[np.int32]]]] = {}

    def submit_due(self, now_ns: int) -> None:
        """Submit what is due. O(1) when nothing is."""
        while self._due and self._due[0].at_ns <= now_ns:
            spec = self._due.popleft().spec
            ledger = ClaimLedger(spec.claim_id, spec.owner_scope, spec.mode.value, spec.num_footprint_blocks)
            self._ledgers[spec.claim_id] = ledger
            answer = self._manager.submit(spec)
            if isinstance(answer, Rejected):
                ledger.outcome = f"rejected: {answer.reason.value}"
            else:
                tokens = np.array(spec.tokens, np.int32)
                self._by_first_token.setdefault(int(tokens[0]), []).append((spec, tokens))

    def reused(self, prompt: Prompt, num_cached_tokens: int) -> None:
        """An admitted request found `num_cached_tokens` of its prompt. O(claims with its first token)."""
        if not num_cached_tokens or not self._by_first_token:
            return
        tokens = prompt.tokens()
        for spec, claimed in self._by_first_token.get(int(tokens[0]), ()):
            block = spec.cache_identity.block_size
            most = min(num_cached_tokens, spec.num_footprint_blocks * block)
            same = claimed[:most] == tokens[:most]
            shared = (most if same.all() else int(same.argmin())) // block * block
            if shared:
                self._ledgers[spec.claim_id].num_hits += 1
                self._ledgers[spec.claim_id].reused_tokens += shared

    def blocked(self, claim_ids: Sequence[str], count: Literal["num_refusals", "num_deferrals"]) -> None:
        """A request has to go or to wait because of these claims."""
        for claim_id in claim_ids:
            ledger = self._ledgers[claim_id]
            setattr(ledger, count, getattr(ledger, count) + 1)

    def close(self) -> None:
        """Write down how each accepted claim stands at the end."""
        for claim_id, ledger in self._ledgers.items():
            if ledger.outcome == "accepted":
                ledger.outcome = self._manager.state(claim_id).value
