"""The pool as an observer sees it. Nothing here changes it."""

from dataclasses import dataclass

from residentkv import _core
from residentkv.runtime.int_arrays import Int32Array, UInt8Array
from residentkv.runtime.request_names import RequestNames


@dataclass(frozen=True, slots=True)
class RequestView:
    """An admitted request at one moment.

    Parameters
    ----------
    row : its row of the block tables.
    status : "running" or "preempted".
    num_known_tokens : prompt and committed generated tokens whose ids are known.
    num_committed_tokens, num_written_tokens, num_planned_tokens : progress; each is at most the next.
    peak_blocks : blocks it will hold at most, as declared or as planned so far.
    block_ids : [num_blocks] int32, a copy; empty while preempted.
    token_ids : [num_known_tokens] int32, a copy.
    """

    request_id: str
    row: int
    status: str
    num_known_tokens: int
    num_committed_tokens: int
    num_written_tokens: int
    num_planned_tokens: int
    peak_blocks: int
    block_ids: Int32Array
    token_ids: Int32Array


class PoolView:
    """Counts, block states and requests of one pool. Get it as `BlockManager.pool`."""

    __slots__ = ("_native", "_requests")

    def __init__(self, native: _core.BlockManager, requests: RequestNames) -> None:
        self._native = native
        self._requests = requests

    def counts(self) -> _core.Counts:
        """Counters of the whole manager, in blocks unless named otherwise. O(1)."""
        return self._native.counts()

    def block_states(self) -> UInt8Array:
        """State of every row of storage. O(blocks).

        0 free, 1 cached, 2 active, 3 resident idle, 4 resident active, 5 null.
        """
        return self._native.block_states()

    def request_ids(self) -> tuple[str, ...]:
        """Ids of all admitted, unfinished requests, in order of admission. O(requests)."""
        return tuple(self._requests.rows)

    def request(self, request_id: str) -> RequestView:
        """One admitted request. O(its tokens).

        Raises
        ------
        ContractError : unknown or finished request.
        """
        row = self._requests.row_of(request_id)
        facts = self._native.request_facts(row)
        return RequestView(
            request_id=request_id,
            row=row,
            status=facts.status,
            num_known_tokens=facts.num_known_tokens,
            num_committed_tokens=facts.num_committed_tokens,
            num_written_tokens=facts.num_written_tokens,
            num_planned_tokens=facts.num_planned_tokens,
            peak_blocks=facts.peak_blocks,
            block_ids=self._native.request_blocks(row),
            token_ids=self._native.request_tokens(row),
        )

    def check_invariants(self) -> None:
        """Check the whole bookkeeping. O(blocks + nodes + rows).

        Raises
        ------
        InvariantError : it contradicts itself; the manager does no further work.
        """
        self._native.check_invariants()
