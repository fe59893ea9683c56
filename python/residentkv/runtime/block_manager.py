"""The public object of this package: a paged KV block manager that keeps the promises made to claims."""

import secrets
import time
import uuid
from collections.abc import Callable, Sequence
from itertools import count
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from residentkv import _core
from residentkv._core import Replaced, StepBuffers, StepPlan
from residentkv.contract.arbiter import RELAX_LEAST_VALUE, ArbiterPolicy
from residentkv.contract.decision import Admitted, Deferred, NeedsRoom, Refused
from residentkv.contract.errors import ContractError
from residentkv.contract.events import EventSink
from residentkv.contract.identity import CacheIdentity, ExtraKeys
from residentkv.runtime.claim_manager import ClaimManager, ClaimManagerParts
from residentkv.runtime.claim_table import ClaimTable
from residentkv.runtime.conflict_desk import ConflictDesk, Waiter
from residentkv.runtime.event_log import EventLog
from residentkv.runtime.event_writer import RunStamp
from residentkv.runtime.int_arrays import INT32, Int32Array, as_int32, as_new_tokens, as_tokens
from residentkv.runtime.pool_options import PoolOptions
from residentkv.runtime.pool_view import PoolView
from residentkv.runtime.request_names import RequestNames
from residentkv.runtime.root_table import RootTable
from residentkv.runtime.turn import Turn, overlap

_ADMITTED: Final = _core.ADMITTED
_DEADLINE_DUE: Final = _core.DEADLINE_DUE
_ndarray: Final = np.ndarray


class BlockManager:
    """Paged KV blocks for the requests of one engine, with claims.

    A request is admitted with its whole prompt, planned and committed step by step, and finished. "Not now" is a value: Deferred (wait),
    Refused (will not fit while the claims named in its record stand), NeedsRoom (preempt somebody).

    Parameters
    ----------
    options : size and limits of the pool.
    identity : cache identity of requests that name none; its block size must be the pool's.
    sinks : where events go; the manager closes them. Without any, events are numbered but not kept.
    clock : nanoseconds, never going back; the only source of time. It must not call the manager.
    policy : which claims may be acted on so that a request fits, and in which order.
    run_id : carried by every event; None makes a random one.
    hash_seed : of the prefix index; None is random. It changes no decision.

    Thread safety: none. One call at a time; an overlap, use after `close` and use in a forked child raise ContractError.
    After an InvariantError every call raises InvariantError.

    Attributes
    ----------
    claims : submit, renew and end claims, and ask what-if.
    events : deliver events to the sinks, once per step or so.
    pool : counts, block states, requests.
    """

    __slots__ = (
        "_clock",
        "_commit",
        "_enter",
        "_finish",
        "_is_closed",
        "_is_traced",
        "_keys",
        "_leave",
        "_native",
        "_plan",
        "_requests",
        "_room",
        "_roots",
        "_rows",
        "_table",
        "_try_admit",
        "_turn",
        "claims",
        "events",
        "pool",
    )

    def __init__(
        self,
        options: PoolOptions,
        *,
        identity: CacheIdentity,
        sinks: Sequence[EventSink] = (),
        clock: Callable[[], int] = time.monotonic_ns,
        policy: ArbiterPolicy = RELAX_LEAST_VALUE,
        run_id: str | None = None,
        hash_seed: int | None = None,
    ) -> None:
        native = _core.BlockManager(
            usable_blocks=options.usable_blocks,
            block_size=options.block_size,
            null_block=options.null_block,
            max_requests=options.max_requests,
            max_blocks_per_request=options.table_width,
            hash_seed=secrets.randbits(64) if hash_seed is None else hash_seed,
            block_events=options.block_events,
            retain_events=bool(sinks),
        )
        self._roots = RootTable(identity, options.block_size)
        self._requests = RequestNames(options.max_requests)
        self._turn = Turn()
        stamp = RunStamp(run_id or uuid.uuid4().hex, policy.name, options.usable_blocks)
        self.events: Final = EventLog(native, sinks, stamp, self._requests, self._turn)
        self._table = ClaimTable(native, self.events, reports_losses=options.block_events)
        desk = ConflictDesk(
            native,
            self._table,
            self.events,
            policy,
            usable_blocks=options.usable_blocks,
            max_waiting=4 * options.max_requests,
        )
        self._room = RoomMaker(native, self._table, desk, self.events, self._requests, clock)
        self.claims: Final = ClaimManager(
            ClaimManagerParts(native, options, self._roots, self._table, desk, self.events, self._turn, clock)
        )
        self.pool: Final = PoolView(native, self._requests)
        self._native = native
        self._clock = clock
        self._is_closed = False
        # What the calls of a serving loop touch, one attribute away.
        self._is_traced = self.events.is_traced
        self._rows = self._requests.rows
        self._keys = count()
        self._enter, self._leave = self._turn.enter, self._turn.leave
        self._try_admit, self._finish = native.admit, native.finish
        self._plan, self._commit = native.plan_step, native.commit_step

    # --- requests ---

    def admit(
        self,
        request_id: str,
        tokens: ArrayLike,
        *,
        max_new_tokens: int | None = None,
        identity: CacheIdentity | None = None,
        extra_keys: ExtraKeys | None = None,
        future_reuse: bool = True,
    ) -> Admitted | Deferred | Refused:
        """Take blocks for all of a request's prompt, reusing what is cached. All or nothing. O(blocks of the prompt).

        Parameters
        ----------
        request_id : of no admitted, unfinished request.
        tokens : [num_tokens] token ids of the prompt, any integers in [0, 2**31); contiguous int32 arrays are fastest.
        max_new_tokens : most tokens that will be generated; None: unknown, then growth may be refused later.
        identity : None is the manager's default.
        extra_keys : one bytes or None per full block; content is reused only under equal keys.
        future_reuse : False keeps what this request computes out of the prefix index.

        Returns
        -------
        Admitted with the row and the number of cached tokens; or Deferred or Refused with the record of the conflict.

        Raises
        ------
        ContractError : a used id, bad tokens, counts or keys, a full block table, or a foreign block size.
        """
        if not self._enter(False):
            raise overlap()
        try:
            if not isinstance(request_id, str) or not request_id or request_id in self._rows:
                raise _unusable_id(request_id)
            root = 0 if identity is None else self._roots.number(identity)
            limit = -1 if max_new_tokens is None else as_new_tokens(max_new_tokens)
            key = next(self._keys)
            try:
                decision = self._try_admit(key, root, tokens, limit, extra_keys, future_reuse, self._clock())
            except (ContractError, TypeError):  # perhaps only not in the form that the core reads: convert, try again
                decision = None
            if decision is None or decision.outcome != _ADMITTED:
                waiter = Waiter(request_id, key, future_reuse)
                settled = self._room.admit(waiter, (root, as_tokens(tokens), limit, as_extra_keys(extra_keys)))
                if isinstance(settled, Deferred | Refused):
                    return settled
                decision = settled
            return self._enter_table(request_id, key, decision)
        finally:
            self._leave()

    def finish(self, request_id: str) -> None:
        """Forget a request; its blocks become cached, resident or free once no step in flight names them. O(its blocks).

        Raises
        ------
        ContractError : unknown or already finished request.
        """
        if not self._enter(False):
            raise overlap()
        try:
            row = self._rows.get(request_id)
            if row is None:
                row = self._requests.row_of(request_id)  # says what is wrong
            self._finish(row)
            del self._rows[request_id]
            if self._is_traced:
                self._requests.end_key(request_id)
            if self._private:
                self._private.discard(request_id)
        finally:
            self._leave()

    def preempt(self, request_id: str) -> None:
        """Take a running request's blocks back; it keeps its row and its tokens, and recomputes when it resumes. O(its blocks).

        Raises
        ------
        ContractError : unknown, finished or already preempted request.
        """
        with self._turn:
            self._native.preempt(self._requests.row_of(request_id))

    def resume(self, request_id: str) -> Admitted | Deferred:
        """Admit a preempted request again, in its row, reusing what is still cached. Never refused. O(its blocks).

        Raises
        ------
        ContractError : unknown request, not preempted, or a step with it is still in flight.
        """
        with self._turn:
            row = self._requests.row_of(request_id)
            waiter = self._requests.waiter(request_id)
            settled = self._room.resume(waiter, row)
            if isinstance(settled, Deferred):
                return settled
            return Admitted(request_id, row, settled.num_cached_tokens, settled.new_blocks)

    def fork(self, request_id: str, child_id: str) -> Admitted | Deferred | Refused:
        """Admit a child that shares everything the request has written; whoever writes a shared partial block first gets a copy of it
        (`StepPlan.copies`). O(blocks of the request).

        Raises
        ------
        ContractError : unknown parent, used child id, a step in flight with the parent, or known tokens of it not yet written.
        """
        with self._turn:
            if not isinstance(child_id, str) or not child_id or child_id in self._rows:
                raise _unusable_id(child_id)
            row = self._requests.row_of(request_id)
            key = next(self._keys)
            waiter = Waiter(child_id, key, request_id not in self._private)
            settled = self._room.fork(waiter, row)
            if isinstance(settled, Deferred | Refused):
                return settled
            return self._enter_table(child_id, key, settled)
