"""Typed surface of the native module (csrc/bindings). The contracts are in the C++ headers named beside each class."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int32Array = NDArray[np.int32]
UInt32Array = NDArray[np.uint32]
UInt8Array = NDArray[np.uint8]

# csrc/core/ids.hpp
NO_CLAIM: Final[int]
NO_REQUEST: Final[int]

# csrc/core/event.hpp: codes of EventKind, in the order of the names in contract/events.py
EVENT_KINDS: Final[tuple[str, ...]]
VICTIM_REASONS: Final[tuple[str, ...]]

# csrc/manager/decision.hpp
ADMITTED: Final[int]
DEFERRED: Final[int]
REFUSED: Final[int]
CAPACITY_REQUIRED: Final[int]
DEADLINE_DUE: Final[int]

# csrc/alloc/region_table.hpp
MODE_PROTECTING: Final[int]
MODE_SOFT: Final[int]
MODE_BEST_EFFORT: Final[int]

# csrc/manager/claim_answer.hpp
CLAIM_ACCEPTED: Final[int]
CLAIM_NO_CAPACITY: Final[int]
CLAIM_OVER_BUDGET: Final[int]
RESTORE_STARTED: Final[int]
RESTORE_NO_ROOM: Final[int]
RESTORE_BUSY: Final[int]
RESTORE_DEADLINE_DUE: Final[int]
CAUSE_OFFLOADED: Final[int]

class Decision:
    """Numbers of one admission (csrc/manager/decision.hpp). All counts are blocks unless named otherwise."""

    @property
    def outcome(self) -> int: ...
    @property
    def row(self) -> int: ...
    @property
    def num_cached_tokens(self) -> int: ...
    @property
    def peak_blocks(self) -> int: ...
    @property
    def new_blocks(self) -> int: ...
    @property
    def available_blocks(self) -> int: ...
    @property
    def protected_blocks(self) -> int: ...
    @property
    def protected_union_peak_blocks(self) -> int: ...
    @property
    def resident_plus_active_blocks(self) -> int: ...
    @property
    def num_filled_blocks(self) -> int: ...

class Conflict:
    """Which claims stand in the way of one demand (csrc/manager/conflict.hpp). Valid until the manager next changes."""

    @property
    def decision(self) -> Decision: ...
    @property
    def claims(self) -> UInt32Array: ...  # blocking claims: by blocks in the way descending, then by acceptance
    @property
    def blocks(self) -> Int32Array: ...  # per claim: its blocks that are in the way
    def sufficient(self, order: UInt32Array) -> UInt32Array: ...  # inclusion-minimal prefix-then-drop subset; empty if none suffices

class ClaimAnswer:
    """Answer to accept_claim (csrc/manager/claim_answer.hpp)."""

    @property
    def outcome(self) -> int: ...
    @property
    def claim(self) -> int: ...
    @property
    def materialized(self) -> bool: ...
    @property
    def protected_blocks(self) -> int: ...  # |P u c|
    @property
    def protected_union_held_blocks(self) -> int: ...  # |P u c u held|
    @property
    def largest_union_blocks(self) -> int: ...  # max over admitted r of |P u c u A(r)|, |P u c| when none

class ClaimFacts:
    @property
    def footprint_blocks(self) -> int: ...
    @property
    def surviving_blocks(self) -> int: ...
    @property
    def leading_blocks(self) -> int: ...
    @property
    def predicate_blocks(self) -> int: ...  # start + n
    @property
    def predicate_true(self) -> bool: ...

class ClaimNotice:
    """A transition that happened natively since the last take_claim_notices()."""

    @property
    def claim(self) -> int: ...
    @property
    def kind(self) -> str: ...  # "resident_claim_materialized" | "resident_claim_harmed"

class RestoreAnswer:
    @property
    def outcome(self) -> int: ...  # RESTORE_*
    @property
    def copy(self) -> int: ...  # with RESTORE_STARTED
    @property
    def sequence(self) -> int: ...  # of resident_claim_restore_required

class RequestFacts:
    @property
    def request(self) -> int: ...
    @property
    def num_known_tokens(self) -> int: ...
    @property
    def num_committed_tokens(self) -> int: ...
    @property
    def num_written_tokens(self) -> int: ...
    @property
    def num_planned_tokens(self) -> int: ...
    @property
    def num_blocks(self) -> int: ...
    @property
    def peak_blocks(self) -> int: ...
    @property
    def status(self) -> str: ...  # "running" | "preempting" | "preempted"

class Counts:
    """Counters of the whole manager; blocks unless named otherwise."""

    @property
    def usable(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def cached(self) -> int: ...
    @property
    def active(self) -> int: ...
    @property
    def resident_idle(self) -> int: ...
    @property
    def resident_active(self) -> int: ...
    @property
    def reserved(self) -> int: ...
    @property
    def filling(self) -> int: ...
    @property
    def protected(self) -> int: ...
    @property
    def num_claims(self) -> int: ...
    @property
    def num_requests(self) -> int: ...
    @property
    def num_preempted(self) -> int: ...
    @property
    def num_steps_planned(self) -> int: ...
    @property
    def num_steps_in_flight(self) -> int: ...
    @property
    def num_allocations(self) -> int: ...
    @property
    def num_evictions(self) -> int: ...
    @property
    def num_nodes(self) -> int: ...
    @property
    def num_query_tokens(self) -> int: ...
    @property
    def num_hit_tokens(self) -> int: ...
    @property
    def num_pending_events(self) -> int: ...
    @property
    def num_copies(self) -> int: ...  # offloads and restores that hold blocks
    @property
    def metadata_bytes(self) -> int: ...

class StepBuffers:
    """Caller-owned memory for plan_step (for example page-locked tensors): `block_table` [rows, width] and `slot_mapping` [tokens], both
    writable C-contiguous int32. Rows come in batch order. Keeps both alive."""

    def __init__(self, *, block_table: Int32Array, slot_mapping: Int32Array) -> None: ...

class Replaced:
    """A row entry that now names the canonical block instead of a duplicate (from the next planned step on)."""

    @property
    def row(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def old_block(self) -> int: ...
    @property
    def new_block(self) -> int: ...

class StepPlan:
    """One planned step. Arrays are zero-copy views, valid until the third later plan_step (or the caller's own with `out`)."""

    @property
    def step_id(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...
    @property
    def rows(self) -> Int32Array: ...  # [batch]
    @property
    def block_table(self) -> Int32Array: ...  # [max_requests, max_blocks_per_request], index with rows; with out: [batch, width], batch order
    @property
    def slot_mapping(self) -> Int32Array: ...  # [num_tokens], block * block_size + offset
    @property
    def context_lens(self) -> Int32Array: ...  # [batch] tokens incl. this step
    @property
    def copies(self) -> Int32Array: ...  # [num_copies, 2] (source block, target block): copy before the model writes
    @property
    def kv_indptr(self) -> Int32Array: ...  # FlashInfer: [batch + 1]; the three are computed on first access
    @property
    def kv_indices(self) -> Int32Array: ...  # [kv_indptr[-1]]
    @property
    def kv_last_page_len(self) -> Int32Array: ...  # [batch], 1..block_size

class StepShortage:
    """Why plan_step changed nothing."""

    @property
    def deadline_due(self) -> bool: ...
    @property
    def rows(self) -> Int32Array: ...  # rows without room, in batch order
    @property
    def shortfall(self) -> int: ...
    @property
    def refused_row(self) -> int: ...  # a row planned beyond what the claims leave it (max_new_tokens=None), else -1

class BlockManager:
    def __init__(
        self,
        *,
        usable_blocks: int,
        block_size: int,
        null_block: bool,
        max_requests: int,
        max_blocks_per_request: int,
        hash_seed: int,
        block_events: bool,
        retain_events: bool,
    ) -> None: ...

    # requests -- request: caller's 64-bit key; root: caller's number of a cache identity; max_new_tokens -1 = as planned so far;
    # extra_keys: None or one bytes/None per full block (missing tail = None)
    def admit(self, request: int, root: int, tokens: Int32Array, max_new_tokens: int, extra_keys: Sequence[bytes | None] | None, future_reuse: bool, now_ns: int, /) -> Decision: ...
    def fork(self, row: int, request: int, now_ns: int) -> Decision: ...
    def preempt(self, row: int) -> None: ...
    def resume(self, row: int, now_ns: int) -> Decision: ...
    def finish(self, row: int, /) -> None: ...
    def rewind(self, row: int, num_tokens: int) -> None: ...
    def request_facts(self, row: int) -> RequestFacts: ...
    def request_tokens(self, row: int) -> Int32Array: ...  # copy
    def request_blocks(self, row: int) -> Int32Array: ...  # copy

    # steps
    def plan_step(self, rows: Int32Array, num_tokens: Int32Array, now_ns: int, out: StepBuffers | None = None, /) -> StepPlan | StepShortage: ...
    def commit_step(self, step_id: int, num_valid: Int32Array | None, token_ids: Int32Array | None, /) -> tuple[Replaced, ...]: ...
    def fail_step(self, step_id: int) -> tuple[int, ...]: ...  # it and every later step in flight

    # claims
    def accept_claim(
        self,
        *,
        root: int,
        tokens: Int32Array,
        extra_keys: Sequence[bytes | None] | None,
        footprint_blocks: int,
        predicate_start: int,
        predicate_blocks: int,
        mode: int,
        max_protected_blocks: int,
        deadline_step: int,
        deadline_allocations: int,
        deadline_ns: int,
        now_ns: int,
    ) -> ClaimAnswer: ...  # deadlines absolute, -1 = none; changes nothing unless CLAIM_ACCEPTED
    def end_claim(self, claim: int, event_kind: str, now_ns: int) -> int: ...  # records the event, then ends protection; event sequence
    def set_deadline(self, claim: int, deadline_step: int, deadline_allocations: int, deadline_ns: int) -> None: ...
    def due_claims(self) -> UInt32Array: ...  # due as of the call that last answered DEADLINE_DUE, earliest first
    def claim_facts(self, claim: int) -> ClaimFacts: ...
    def claim_blocks(self, claim: int) -> Int32Array: ...  # [footprint] block ids, -1 where not computed
    def take_claim_notices(self) -> list[ClaimNotice]: ...
    def conflict(self, root: int, tokens: Int32Array, max_new_tokens: int, extra_keys: Sequence[bytes | None] | None) -> Conflict: ...
    def conflict_of_fork(self, row: int) -> Conflict: ...  # of a child of this request
    def conflict_of_row(self, row: int, num_tokens: int) -> Conflict: ...  # resume (num_tokens 0) or growth by num_tokens of an admitted request

    # offload and restore: the caller copies, the core holds the blocks (csrc/manager/block_manager.hpp)
    def can_offload(self, claims: UInt32Array) -> NDArray[np.bool_]: ...  # per claim: a predicate block would leave
    def begin_offload(self, claim: int) -> int: ...  # copy id
    def finish_offload(self, copy: int, now_ns: int) -> int: ...  # event sequence; 0: by now nothing would leave; still materialized
    def needed_restore(self, root: int, tokens: Int32Array, extra_keys: Sequence[bytes | None] | None) -> int: ...  # claim or NO_CLAIM
    def begin_restore(self, claim: int, num_restorable: int, max_protected_blocks: int, now_ns: int) -> RestoreAnswer: ...
    def finish_restore(self, copy: int, num_good: int, now_ns: int) -> int: ...  # event sequence if materialized again, else 0
    def drop_copy(self, copy: int) -> None: ...  # it ended without use
    def copy_blocks(self, copy: int) -> Int32Array: ...  # [num_blocks, 2]: position in the footprint, block id
    def harm_claim(self, claim: int, cause: int, now_ns: int) -> int: ...  # offloaded or restoring; event sequence
    def reuses(self, row: int, claim: int) -> bool: ...  # does the request hold all that the claim's predicate needs

    # faults
    def invalidate(self, block_ids: Int32Array, cause: int, now_ns: int) -> Int32Array: ...  # rows it preempted; cause: caller's number, comes back in events
    def reset(self, now_ns: int) -> Int32Array: ...  # rows it preempted; REQUIRES every claim ended by the caller

    # events
    def record_event(self, kind: str, claim: int, request: int, now_ns: int) -> int: ...  # event sequence
    def drain_events(self) -> NDArray[np.void]: ...  # structured array, fields as csrc/core/event.hpp

    # watch
    def counts(self) -> Counts: ...
    def block_states(self) -> UInt8Array: ...  # per row of storage: 0 free, 1 cached, 2 active, 3 resident idle, 4 resident active, 5 null
    def check_invariants(self) -> None: ...  # O(blocks + nodes + rows); raises InvariantError
    def poison(self, reason: str) -> None: ...  # nothing enters any more; the first reason is kept
    def close(self) -> None: ...
    @property
    def poisoned(self) -> str | None: ...

# --- copies and tiers ---

class HostArena:
    """Host memory for the slots of a tier (csrc/tier/host_arena.hpp); a writable buffer of uint8. Raises MemoryError."""

    def __init__(self, *, num_bytes: int) -> None: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def not_locked(self) -> str: ...  # "" when the memory is page-locked, else why not
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Backend:
    """Who moves the bytes (csrc/device/backend.hpp). An engine takes it; it serves no second one."""

def host_backend(*, num_threads: int) -> Backend: ...
def fake_backend(
    *,
    seed: int,
    max_pieces_per_poll: int = 4,
    device_error_permille: int = 0,
    corruption_permille: int = 0,
    short_read_permille: int = 0,
    stall_permille: int = 0,
) -> Backend: ...

# csrc/bindings/bind_cuda.cpp. Without a CUDA compiler at build time the last two raise DeviceError, and there is no device.
def cuda_device() -> str | None: ...  # the current device's name; None without a driver or device
def cuda_calibrate(*, num_ctas: int = 12, num_repeats: int = 3) -> str: ...  # csrc/cuda/calibration.hpp: text to print and save
def cuda_backend(
    *,
    planes: Sequence[tuple[int, int, int, int]],  # as CopyEngine
    num_blocks: int,
    arena: HostArena,  # page-locked while the backend lives
    max_pairs: int = 1024,
    num_ctas: int = 12,
    num_staging_blocks: int = 0,
    calibration: str | None = None,
) -> Backend: ...

class CopyResult:
    """How a ticket ended (csrc/copy/engine.hpp)."""

    @property
    def ticket(self) -> int: ...
    @property
    def is_restore(self) -> bool: ...
    @property
    def state(self) -> str: ...  # "done", "failed", "cancelled"
    @property
    def error(self) -> str: ...  # "none", "device", "timeout", "cancelled", "short_read", "checksum"
    @property
    def error_detail(self) -> str: ...
    @property
    def failed_pairs(self) -> list[int]: ...  # indices into what was submitted; empty when it is not known which
    @property
    def checksums(self) -> NDArray[np.uint64]: ...  # [pairs * layers] of an offload that is done

class CopyEngine:
    """Copies in flight between device blocks and the slots of one arena (csrc/copy/engine.hpp)."""

    def __init__(
        self,
        *,
        planes: Sequence[tuple[int, int, int, int]],  # (address, stride_bytes, run_bytes, layer), sorted by layer
        num_blocks: int,
        arena: HostArena,
        backend: Backend,
        max_tickets: int,
    ) -> None: ...
    def offload(self, blocks: Int32Array, slots: Int32Array) -> int | None: ...  # None: max_tickets are in flight
    def restore(self, blocks: Int32Array, slots: Int32Array, checksums: NDArray[np.uint64]) -> int | None: ...
    def begin_after(self, event: int) -> None: ...  # a cudaEvent_t; ContractError from a backend without device events
    def poll(self) -> list[CopyResult]: ...
    def wait(self, ticket: int, timeout_s: float) -> bool: ...
    def wait_layers(self, ticket: int, num_layers: int, timeout_s: float) -> bool: ...
    def cancel(self, ticket: int) -> None: ...
    def time_out(self, ticket: int) -> None: ...
    def close(self) -> None: ...
    @property
    def num_in_flight(self) -> int: ...
    @property
    def max_tickets(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...

def checksum(data: object) -> int: ...  # csrc/device/checksum.hpp, of one contiguous buffer; the GIL is released

class SlotCounts:
    """Slots of a tier by state (csrc/tier/slot_table.hpp)."""

    @property
    def num_slots(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def filling(self) -> int: ...
    @property
    def ready(self) -> int: ...
    @property
    def draining(self) -> int: ...
    @property
    def wanted(self) -> int: ...
    @property
    def evictable(self) -> int: ...
    @property
    def lent(self) -> int: ...
    @property
    def reserved(self) -> int: ...
    @property
    def num_evictions(self) -> int: ...
    @property
    def num_hits(self) -> int: ...
    @property
    def num_misses(self) -> int: ...

class SlotTable:
    """What each slot of a tier holds, for whom (csrc/tier/slot_table.hpp). Keys are 32 bytes."""

    def __init__(self, *, num_slots: int) -> None: ...
    def reserve(self, count: int) -> bool: ...
    def forfeit(self, count: int) -> None: ...
    def find(self, key: bytes) -> int | None: ...
    def has(self, key: bytes) -> bool: ...
    def begin_fill_reserved(self, key: bytes) -> tuple[int, bytes | None] | None: ...  # (slot, evicted key)
    def begin_fill(self, key: bytes, priority: int) -> tuple[int, bytes | None] | None: ...
    def finish_fill(self, slot: int, checksums: NDArray[np.uint64]) -> None: ...
    def abort_fill(self, slot: int) -> None: ...
    def adopt(self, slot: int, key: bytes, priority: int, checksums: NDArray[np.uint64]) -> None: ...
    def begin_read(self, slot: int) -> None: ...
    def end_read(self, slot: int) -> None: ...
    def checksums(self, slot: int) -> NDArray[np.uint64]: ...
    def want(self, slot: int) -> None: ...
    def unwant(self, slot: int) -> None: ...
    def drop(self, slot: int) -> None: ...
    def state(self, slot: int) -> str: ...  # "free", "filling", "ready", "draining"
    def counts(self) -> SlotCounts: ...
    def check_invariants(self) -> None: ...
