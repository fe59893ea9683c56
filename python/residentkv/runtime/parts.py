"""The objects behind one pool, put together. Each knows only those it was given."""

import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from residentkv import _core
from residentkv.contract.arbiter import ArbiterPolicy
from residentkv.contract.errors import ContractError
from residentkv.contract.events import EventSink
from residentkv.contract.identity import CacheIdentity
from residentkv.runtime.claim_table import ClaimTable
from residentkv.runtime.conflict_desk import ConflictDesk
from residentkv.runtime.event_log import EventLog
from residentkv.runtime.event_recorder import EventRecorder
from residentkv.runtime.event_writer import RunStamp
from residentkv.runtime.pool_options import PoolOptions
from residentkv.runtime.request_names import RequestNames
from residentkv.runtime.room_maker import RoomMaker
from residentkv.runtime.root_table import RootTable
from residentkv.runtime.turn import Turn

_WAITING_PER_ROW: Final = 4  # deferred requests remembered for each request that can be admitted


@dataclass(frozen=True, slots=True)
class Parts:
    """What BlockManager and ClaimManager share.

    Parameters
    ----------
    native : mechanism and state. clock : the only source of time. turn : held while Python and native state change
    together.
    roots : numbers of cache identities. requests : who is in which row. table : live claims and their transitions.
    desk : what happens in a conflict. room : repeats calls until they fit or are answered. recorder : records events.
    log : delivers them to sinks.
    """

    options: PoolOptions
    clock: Callable[[], int]
    turn: Turn
    native: _core.BlockManager
    roots: RootTable
    requests: RequestNames
    recorder: EventRecorder
    log: EventLog
    table: ClaimTable
    desk: ConflictDesk
    room: RoomMaker


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What BlockManager takes besides the pool's options; described there."""

    identity: CacheIdentity
    sinks: Sequence[EventSink]
    clock: Callable[[], int]
    policy: ArbiterPolicy
    run_id: str | None
    hash_seed: int | None


def assemble(options: PoolOptions, run: RunOptions) -> Parts:
    """Build the native core and everything around it.

    Raises
    ------
    ContractError : sizes the core can not address, a block size of the identity that is not the pool's, or a bad seed.
    """
    seed = secrets.randbits(64) if run.hash_seed is None else run.hash_seed
    if type(seed) is not int or not 0 <= seed < 1 << 64:
        raise ContractError(f"hash_seed must be an int in [0, 2**64) or None, got {seed!r}")
    roots = RootTable(run.identity, options.block_size)
    native = _core.BlockManager(
        usable_blocks=options.usable_blocks,
        block_size=options.block_size,
        null_block=options.null_block,
        max_requests=options.max_requests,
        max_blocks_per_request=options.table_width,
        hash_seed=seed,
        block_events=options.block_events,
        retain_events=bool(run.sinks),
    )
    turn = Turn(native.poison)
    requests = RequestNames(options.max_requests, has_reader=bool(run.sinks))
    stamp = RunStamp(run.run_id or uuid.uuid4().hex, run.policy.name, options.usable_blocks)
    recorder = EventRecorder(native, requests, stamp, has_reader=bool(run.sinks))
    table = ClaimTable(native, recorder, reports_losses=options.block_events)
    desk = ConflictDesk(
        native,
        table,
        recorder,
        run.policy,
        usable_blocks=options.usable_blocks,
        max_waiting=_WAITING_PER_ROW * options.max_requests,
    )
    room = RoomMaker(native, requests, table, desk, recorder, run.clock)
    return Parts(
        options=options,
        clock=run.clock,
        turn=turn,
        native=native,
        roots=roots,
        requests=requests,
        recorder=recorder,
        log=EventLog(recorder, run.sinks, turn),
        table=table,
        desk=desk,
        room=room,
    )
