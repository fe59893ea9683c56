"""The public object of this package: a paged KV block manager that keeps the promises made to claims."""

import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Final, NoReturn

from numpy.typing import ArrayLike

from residentkv import _core
from residentkv._core import Replaced, StepBuffers, StepPlan
from residentkv.contract.arbiter import RELAX_LEAST_VALUE, ArbiterPolicy
from residentkv.contract.decision import Admitted, Deferred, NeedsRoom, Refused
from residentkv.contract.errors import ContractError, InvariantError
from residentkv.contract.events import EventSink
from residentkv.contract.identity import CacheIdentity, ExtraKeys
from residentkv.runtime.claim_manager import ClaimManager
from residentkv.runtime.event_log import EventLog
from residentkv.runtime.int_arrays import as_count, as_extra_keys, as_int32, as_tokens
from residentkv.runtime.parts import RunOptions, assemble
from residentkv.runtime.pool_options import PoolOptions
from residentkv.runtime.pool_view import PoolView
from residentkv.runtime.request_names import Waiter
from residentkv.runtime.turn import overlap

if TYPE_CHECKING:
    from typing_extensions import Self

_ADMITTED: Final = _core.ADMITTED
_admitted: Final = tuple.__new__  # of a NamedTuple: two thirds of what calling the class costs


class BlockManager:
    """Paged KV blocks for the requests of one engine, with claims.

    A request is admitted with its whole prompt, planned and committed step by step, and finished. "Not now" is a value:
    Deferred (wait), Refused (does not fit while the claims named in its record stand), NeedsRoom (preempt somebody).

    Parameters
    ----------
    options : size and limits of the pool.
    identity : cache identity of requests that name none; its block size must be the pool's.
    sinks : where events go; the manager closes them. Without any, events are numbered but not kept.
    clock : nanoseconds, never going back; the only source of time. It must not call the manager.
    policy : which claims may be acted on so that a request fits, and in which order.
    run_id : carried by every event; None makes a random one.
    hash_seed : of the prefix index, 64 bits; None is random. It changes no decision.

    Attributes
    ----------
    claims : submit, renew and end claims, and ask what-if.
    events : deliver events to the sinks, once per step or so.
    pool : counts, block states, requests.

    Notes
    -----
    Thread safety: none. An overlap of calls, use after `close` and use in a forked child raise ContractError.
    A call that raises ContractError changed nothing. After an InvariantError, only `pool.counts`,
    `events.flush` and `close` still work.
    """

    __slots__ = (
        "_admit",
        "_clock",
        "_commit",
        "_is_closed",
        "_keys",
        "_native",
        "_parts",
        "_plan",
        "_requests",
        "_turn",
        "_waiting",
        "claims",
        "events",
        "pool",
    )

    claims: Final[ClaimManager]
    events: Final[EventLog]
    pool: Final[PoolView]
    # These take what callers bring as it is; the core checks it.
    _admit: Callable[..., _core.Decision]
    _plan: Callable[..., StepPlan | _core.StepShortage]
    _commit: Callable[..., tuple[Replaced, ...]]

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
        parts = assemble(options, RunOptions(identity, sinks, clock, policy, run_id, hash_seed))
        self._parts = parts
        self.claims = ClaimManager(parts)
        self.events = parts.log
        self.pool = PoolView(parts.native, parts.requests)
        self._is_closed = False
        self._keys, self._waiting = count(), parts.desk.waiting
        # What the calls of a serving loop touch is one attribute away.
        native = parts.native
        self._native, self._requests, self._turn, self._clock = native, parts.requests, parts.turn, clock
        self._admit, self._plan, self._commit = native.admit, native.plan_step, native.commit_step

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
        """Take the blocks of a request's whole prompt, reusing what is cached; all or nothing. O(blocks of the prompt).

        Parameters
        ----------
        request_id : of no admitted, unfinished request.
        tokens : [num_tokens] ids of the prompt in [0, 2**31); any integers, contiguous int32 arrays are fastest.
        max_new_tokens : most tokens that will be generated; None: unknown, then growth may be refused later.
        identity : None is the manager's default.
        extra_keys : one bytes or None per full block; content is reused only under equal keys.
        future_reuse : False keeps what this request computes out of the prefix index, except for claimed blocks.

        Returns
        -------
        Admitted with the row and the number of cached tokens; or Deferred or Refused with the record of the conflict.

        Raises
        ------
        ContractError : an id in use, bad tokens, counts or keys, a full block table, or a foreign block size.
        """
        turn, requests = self._turn, self._requests
        try:
            token = turn.take()
        except IndexError:
            raise overlap() from None
        try:
            if type(request_id) is not str or not request_id or request_id in requests.rows:
                raise _unusable_id(request_id)
            root = 0 if identity is None else self._parts.roots.number(identity)
            limit = -1 if max_new_tokens is None else as_count("max_new_tokens", max_new_tokens)
            key = next(self._keys)
            try:
                decision = self._admit(key, root, tokens, limit, extra_keys, future_reuse, self._clock())
            except (ContractError, TypeError):  # perhaps only not in the form that the core reads: convert, ask again
                decision = None
            if decision is None or decision.outcome != _ADMITTED:
                demand = (root, as_tokens(tokens), limit, as_extra_keys(extra_keys))
                settled = self._parts.room.admit(Waiter(request_id, key, future_reuse), demand)
                if isinstance(settled, Deferred | Refused):
                    return settled
                decision = settled
            elif self._waiting:
                self._waiting.pop(request_id, None)
            row = decision.row
            requests.rows[request_id] = row
            requests.by_row[row] = request_id
            if requests.has_reader or not future_reuse:
                requests.note(Waiter(request_id, key, future_reuse), row)
            return _admitted(Admitted, (request_id, row, decision.num_cached_tokens, decision.new_blocks))
        except InvariantError as error:
            turn.poison(str(error))
            raise
        finally:
            turn.give_back(token)

    def finish(self, request_id: str) -> None:
        """Forget a request. Its blocks become cached, resident or free once no step in flight names them.

        O(its blocks).

        Raises
        ------
        ContractError : unknown or already finished request.
        """
        turn, requests = self._turn, self._requests
        try:
            token = turn.take()
        except IndexError:
            raise overlap() from None
        try:
            row = requests.rows.get(request_id)
            if row is None:
                row = requests.row_of(request_id)  # says what is wrong
            self._native.finish(row)
            del requests.rows[request_id]
            if requests.has_reader or requests.private:
                requests.forget(row)
        finally:
            turn.give_back(token)

    def preempt(self, request_id: str) -> None:
        """Take a running request's blocks back; it keeps its row and tokens, and recomputes when it resumes.

        O(its blocks). Blocks that a step in flight names come back when it retires.

        Raises
        ------
        ContractError : unknown or finished request, or not running.
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
            settled = self._parts.room.resume(row)
            if isinstance(settled, Deferred):
                return settled
            return Admitted(request_id, row, settled.num_cached_tokens, settled.new_blocks)

    def fork(self, request_id: str, child_id: str) -> Admitted | Deferred | Refused:
        """Admit a child that shares everything the request has written. O(blocks of the request).

        Whoever first writes to a partial block that both share gets a copy of it (`StepPlan.copies`).

        Raises
        ------
        ContractError : unknown parent, child id in use, a step in flight with the parent, or parts of it not written.
        """
        with self._turn:
            requests = self._requests
            if type(child_id) is not str or not child_id or child_id in requests.rows:
                raise _unusable_id(child_id)
            parent_row = requests.row_of(request_id)
            child = Waiter(child_id, next(self._keys), requests.waiter_in(parent_row).wants_reuse)
            settled = self._parts.room.fork(child, parent_row)
            if isinstance(settled, Deferred | Refused):
                return settled
            row = settled.row
            requests.rows[child_id] = row
            requests.by_row[row] = child_id
            requests.note(child, row)
            return Admitted(child_id, row, settled.num_cached_tokens, settled.new_blocks)

    def rewind(self, request_id: str, num_tokens: int) -> None:
        """Drop planned and written tokens of a running request from position `num_tokens` on. O(blocks dropped).

        Raises
        ------
        ContractError : unknown request, not running, or num_tokens below its committed or above its planned tokens.
        """
        with self._turn:
            self._native.rewind(self._requests.row_of(request_id), as_count("num_tokens", num_tokens))

    # --- steps ---

    def plan_step(
        self, rows: ArrayLike, num_tokens: ArrayLike, out: StepBuffers | None = None
    ) -> StepPlan | NeedsRoom | Refused:
        """Slots for the next `num_tokens[i]` tokens of each row, for all rows or none. O(rows + new slots).

        Parameters
        ----------
        rows : [batch] rows of running requests (`Admitted.row`), each once; int32 arrays are fastest.
        num_tokens : [batch] tokens to compute, > 0.
        out : the caller's memory for block tables and slot mapping; None takes buffers that rotate over three steps.

        Returns
        -------
        StepPlan. NeedsRoom when requests take each other's room: preempt one and plan again. Refused when a request of
        unknown length can not grow beside the claims named in the record. The last two changed nothing.

        Raises
        ------
        ContractError : bad rows or counts, more tokens than a request declared, or two steps in flight already.
        """
        if out is not None and not isinstance(out, StepBuffers):
            raise ContractError(f"out must be StepBuffers or None, got {out!r}")
        try:
            plan = self._plan(rows, num_tokens, self._clock(), out)
        except (ContractError, TypeError):  # as in admit
            plan = None
        if type(plan) is StepPlan:
            return plan
        with self._turn:
            return self._parts.room.plan_step(as_int32("rows", rows), as_int32("num_tokens", num_tokens), out)

    def commit_step(
        self, step_id: int, *, token_ids: ArrayLike | None = None, num_valid: ArrayLike | None = None
    ) -> tuple[Replaced, ...]:
        """Say that the model wrote a step's KV; full blocks of known tokens can be matched from now on.

        O(rows + new full blocks). Steps commit in the order in which they were planned.

        Parameters
        ----------
        token_ids : flat, in batch order: ids of written tokens beyond the prompts, that is, inputs of decode rows.
        num_valid : [batch] leading tokens of each row that are valid (rejected drafts are not); None: all of them.

        Returns
        -------
        Row entries that name another block from the next step on, because equal content was there first.

        Raises
        ------
        ContractError : a step unknown, out of order or committed twice, more valid tokens than planned, or missing ids.
        """
        try:
            return self._commit(step_id, num_valid, token_ids)
        except (ContractError, TypeError):  # as in admit
            step_id = as_count("step_id", step_id)
            num_valid = None if num_valid is None else as_int32("num_valid", num_valid)
            token_ids = None if token_ids is None else as_int32("token_ids", token_ids)
        return self._commit(step_id, num_valid, token_ids)

    def fail_step(self, step_id: int) -> tuple[int, ...]:
        """Say that a step wrote nothing: it and every later step in flight are undone. O(their rows).

        Returns
        -------
        Ids of the steps undone.

        Raises
        ------
        ContractError : no such step in flight.
        """
        return self._native.fail_step(as_count("step_id", step_id))

    # --- faults and the end ---

    def invalidate(self, block_ids: ArrayLike, *, cause: str) -> tuple[str, ...]:
        """Declare the content of blocks bad: it and what follows it is never matched again.

        O(blocks + nodes + footprints). Claims whose predicate needs a bad block are harmed with this cause. Requests
        that hold such content are preempted and compute it again when they resume.

        Returns
        -------
        Ids of the preempted requests.

        Raises
        ------
        ContractError : unknown block ids, no cause, or a step in flight.
        """
        if type(cause) is not str or not cause:
            raise ContractError(f"cause must be a non-empty str, got {cause!r}")
        blocks = as_int32("block_ids", block_ids)
        with self._turn:
            rows = self._native.invalidate(blocks, self._parts.recorder.cause_number(cause), self._clock())
            return self._requests.ids_of(rows.tolist())

    def reset(self) -> tuple[str, ...]:
        """Drop all content: demote every claim, preempt every running request, forget the index. O(blocks + nodes).

        Returns
        -------
        Ids of the preempted requests.

        Raises
        ------
        ContractError : a step in flight.
        """
        with self._turn:
            in_flight = self._native.counts().num_steps_in_flight
            if in_flight:
                raise ContractError(f"{in_flight} steps are in flight: commit or fail them before a reset")
            now_ns = self._clock()
            self._parts.table.demote_all(now_ns)
            return self._requests.ids_of(self._native.reset(now_ns).tolist())

    def close(self) -> None:
        """Deliver every event and close the sinks; the manager serves nothing afterwards. Idempotent."""
        if self._is_closed:
            return
        self.events.flush()
        self.events.collect()  # what sinks made the manager record meanwhile
        self._native.close()
        self._is_closed = True
        self.events.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a BlockManager can not be pickled or copied: there is one of it for its pool")

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _unusable_id(request_id: object) -> ContractError:
    if type(request_id) is not str or not request_id:
        return ContractError(f"a request id must be a non-empty str, got {request_id!r}")
    return ContractError(f"request {request_id!r} is already admitted; finish it first, or use another id")
