"""One request of a replay, from arrival to its last token."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from residentkv.contract.decision import Admitted
from residentkv.planning.request_trace import TraceRequest

_MIX: Final = 2654435761  # Knuth's multiplicative hash: neighbours in the trace generate unlike texts
_TOKEN_MASK: Final = 0x7FFFFFFF


@dataclass(slots=True, eq=False)
class ReplayedRequest:
    """Progress of one admitted request.

    Parameters
    ----------
    num_written : tokens whose KV is written.
    num_known : tokens whose ids the manager knows.
    num_generated : tokens generated; the KV of the last one is written by the step that computes the next.
    """

    source: TraceRequest
    request_id: str
    num_known: int = field(init=False)
    row: int = -1
    num_written: int = 0
    num_generated: int = 0

    def __post_init__(self) -> None:
        self.num_known = self.source.prompt.num_tokens

    @property
    def num_pending(self) -> int:
        """Tokens to compute before the next new one: many while prefilling, one while decoding."""
        return self.source.prompt.num_tokens + self.num_generated - self.num_written

    @property
    def num_left(self) -> int:
        """Tokens still to generate."""
        return self.source.num_output_tokens - self.num_generated

    def start(self, admitted: Admitted) -> None:
        """Take a row: what is cached need not be computed."""
        self.row, self.num_written = admitted.row, admitted.num_cached_tokens

    def write(self, num_tokens: int) -> NDArray[np.int32]:
        """Count tokens as written; return the ids of those that the manager learns now."""
        learned_from = max(self.num_known, self.num_written)
        self.num_written += num_tokens
        self.num_known = max(self.num_known, self.num_written)
        return token_ids(np.arange(learned_from, self.num_written) + self.first_token)

    @property
    def first_token(self) -> int:
        """Where this request's generated ids start, before masking; position p of the request has first_token + p."""
        return self.source.number * _MIX


def token_ids(numbers: NDArray[np.int64]) -> NDArray[np.int32]:
    """Ids of generated tokens: arbitrary, the same in every replay, and of a text that no other request generates."""
    return (numbers & _TOKEN_MASK).astype(np.int32)
