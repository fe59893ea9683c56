"""One request on its way through the serving loop, and what the loop reports about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from residentkv.contract.decision import Admitted, Deferred, NeedsRoom, Refused
from residentkv.contract.errors import ContractError


class FinishReason(str, Enum):
    """Why a request stopped generating."""

    STOP_TOKEN = "stop_token"  # noqa: S105 (a token of text)
    LENGTH = "length"
    NO_ROOM = "no_room"  # claims leave no room for it to grow; only without a max_new_tokens promise


@dataclass(frozen=True, slots=True)
class TokenGenerated:
    """A request's next token, the moment it is known."""

    request_id: str
    token: int


@dataclass(frozen=True, slots=True)
class Preempted:
    """A request gave its blocks back so that an earlier one can go on. It resumes by itself."""

    request_id: str
    cause: NeedsRoom


@dataclass(frozen=True, slots=True)
class Finished:
    """A request is done and its blocks are released."""

    request_id: str
    reason: FinishReason


LoopEvent = Admitted | Deferred | Refused | TokenGenerated | Preempted | Finished


@dataclass(slots=True, eq=False)
class ServingRequest:
    """A request as the loop sees it. The caller fills the first block of fields, the loop the second, anyone may read.

    Attributes
    ----------
    prompt : token ids, at least one.
    max_new_tokens : > 0, and promised at admission; None generates until a stop token or until claims leave no room.
    stop_ids : tokens that end the generation; the one that did is the last generated token.
    tokens : prompt and generated tokens.
    num_written : tokens whose KV is in the pool.
    num_known : tokens whose ids the block manager knows: the prompt, and what was committed beyond it.
    num_cached_tokens : prompt tokens found in the prefix cache at the first admission; None before it.
    num_computed_tokens : tokens the model computed, recomputation after a preemption included.
    submitted_s, first_token_s : on the loop's clock, in seconds; None before it happened.
    """

    request_id: str
    prompt: Sequence[int]
    max_new_tokens: int | None
    stop_ids: frozenset[int] = frozenset()

    tokens: list[int] = field(init=False)
    row: int | None = field(init=False, default=None)
    num_written: int = field(init=False, default=0)
    num_known: int = field(init=False)
    num_cached_tokens: int | None = field(init=False, default=None)
    num_computed_tokens: int = field(init=False, default=0)
    num_preemptions: int = field(init=False, default=0)
    submitted_s: float | None = field(init=False, default=None)
    first_token_s: float | None = field(init=False, default=None)
    last_deferral: Deferred | None = field(init=False, default=None)
    refusal: Refused | None = field(init=False, default=None)
    finish_reason: FinishReason | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not self.prompt or (self.max_new_tokens is not None and self.max_new_tokens <= 0):
            raise ContractError(
                f"{len(self.prompt)} prompt tokens, max_new_tokens={self.max_new_tokens}: both must be positive"
            )
        self.tokens = list(self.prompt)
        self.num_known = len(self.prompt)

    @property
    def generated(self) -> list[int]:
        """Tokens generated so far, a copy."""
        return self.tokens[len(self.prompt) :]

    @property
    def num_pending_tokens(self) -> int:
        """Tokens whose KV is not in the pool: 1 while decoding, more while prefilling."""
        return len(self.tokens) - self.num_written

    @property
    def time_to_first_token_s(self) -> float | None:
        """From submission, in seconds; waiting for room counts. None before the first token."""
        if self.submitted_s is None or self.first_token_s is None:
            return None
        return self.first_token_s - self.submitted_s

    def start(self, admitted: Admitted) -> None:
        """Take a row, freshly admitted or resumed: what is cached need not be computed."""
        self.row = admitted.row
        self.num_written = admitted.num_cached_tokens
        if self.num_cached_tokens is None:
            self.num_cached_tokens = admitted.num_cached_tokens
        assert self.num_written < self.num_known <= len(self.tokens)

    def pause(self) -> None:
        """Give the KV up. The tokens stay: resuming computes them again, except what is still cached then."""
        self.num_written = 0
        self.num_preemptions += 1

    def take_written(self, num_tokens: int) -> NDArray[np.int32]:
        """Count `num_tokens` more as written; return those of them that the block manager learns the ids of now."""
        assert 0 < num_tokens <= self.num_pending_tokens
        learned_from = max(self.num_known, self.num_written)
        self.num_written += num_tokens
        self.num_computed_tokens += num_tokens
        self.num_known = max(self.num_known, self.num_written)
        return np.array(self.tokens[learned_from : self.num_written], dtype=np.int32)
