"""The requests that decode, as columns: a replay makes hundreds of thousands of steps that only add one token to each.

Invariants: (1) columns and `_requests` have the same order, by joining. (2) A request's own counts are exact when it is
not in the batch, and brought up to date when it leaves.
"""

import numpy as np
from numpy.typing import NDArray

from residentkv.planning.replayed_request import ReplayedRequest, token_ids


class DecodeBatch:
    """Joining and leaving cost O(batch), a step O(batch) in numpy and nothing per request in Python."""

    def __init__(self) -> None:
        self._requests: list[ReplayedRequest] = []
        self.rows: NDArray[np.int32] = np.zeros(0, np.int32)
        self._next_token: NDArray[np.int64] = np.zeros(0, np.int64)
        self._left: NDArray[np.int64] = np.zeros(0, np.int64)
        self._steps_until_done = 0

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request: object) -> bool:
        return request in self._requests

    @property
    def tokens(self) -> NDArray[np.int32]:
        """[batch] ids that the next step feeds: the token that each request generated last."""
        return token_ids(self._next_token)

    def join(self, request: ReplayedRequest) -> None:
        """Take in a request whose prompt is written and whose first token is known. REQUIRES: something left to do."""
        assert request.num_pending == 1
        assert request.num_left > 0
        self._requests.append(request)
        self.rows = np.append(self.rows, np.int32(request.row))
        self._next_token = np.append(self._next_token, np.int64(request.first_token + request.num_written))
        self._left = np.append(self._left, np.int64(request.num_left))
        self._count_down()

    def leave(self, request: ReplayedRequest) -> None:
        """Let a request go before it is done."""
        index = self._requests.index(request)
        self._settle(index)
        self._keep(np.arange(len(self._requests)) != index)

    def advance(self) -> list[ReplayedRequest]:
        """One token more for everybody. Returns those that are done now; they have left."""
        self._next_token += 1
        self._left -= 1
        self._steps_until_done -= 1
        if self._steps_until_done > 0 or not self._requests:
            return []
        done = [self._requests[index] for index in np.flatnonzero(self._left == 0)]
        for index in np.flatnonzero(self._left == 0):
            self._settle(int(index))
        self._keep(self._left > 0)
        return done

    def _settle(self, index: int) -> None:
        request = self._requests[index]
        request.num_written = int(self._next_token[index]) - request.first_token
        request.num_known = max(request.num_known, request.num_written)
        request.num_generated = request.source.num_output_tokens - int(self._left[index])

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        self._requests = [request for request, stays in zip(self._requests, kept, strict=True) if stays]
        self.rows, self._next_token, self._left = self.rows[kept], self._next_token[kept], self._left[kept]
        self._count_down()

    def _count_down(self) -> None:
        self._steps_until_done = int(self._left.min()) if self._requests else 0
