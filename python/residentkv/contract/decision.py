"""Answers of the runtime. Every one of them is a value a scheduler acts on; none is an exception."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import NamedTuple

from residentkv.contract.claim import ClaimAction, ClaimState


class Feasibility(str, Enum):
    """Whether protected and active KV fit together once every other request is gone: |P u A(r)| <= usable."""

    FEASIBLE = "feasible"
    INFEASIBLE_PRESERVE_RESIDENT_AND_ACTIVE = "infeasible_preserve_resident_and_active"
    INFEASIBLE_RESTORE_CLAIMED_KV = "infeasible_restore_claimed_kv"


class ArbiterAction(str, Enum):
    """What was done about a demand (contract.md section 5)."""

    SERVE_ACTIVE_PRESERVE_RESIDENT = "serve_active_preserve_resident"
    SERVE_ACTIVE_NO_ADMIT = "serve_active_no_admit"
    SERVE_ACTIVE_EVICT_RESIDENT = "serve_active_evict_resident"
    OFFLOAD_RESIDENT = "offload_resident"
    RELAX_RESIDENT_CLAIM = "relax_resident_claim"
    EXPIRE = "expire"
    DEFER_ACTIVE = "defer_active"
    REFUSE_ACTIVE = "refuse_active"
    BOUND_ACTIVE_LIVE = "bound_active_live"
    RECOMPUTE_SPLIT = "recompute_split"
    OFFLOAD_ACTIVE = "offload_active"
    ROUTE_ELSEWHERE = "route_elsewhere"
    CAPACITY_REQUIRED = "capacity_required"


class RejectReason(str, Enum):
    """Why a claim was not accepted."""

    CAPACITY = "capacity"
    QUOTA = "quota"
    IDENTITY = "identity"
    UNSUPPORTED_MODE = "unsupported_mode"
    INVALID = "invalid"


class RenewStatus(str, Enum):
    """What a renewal did. Only RENEWED changed a deadline."""

    RENEWED = "renewed"
    UNCHANGED = "unchanged"  # same revision, same duration: already done
    STALE = "stale"  # an older revision
    CONFLICT = "conflict"  # same revision, another duration


@dataclass(frozen=True, slots=True)
class ConflictRecord:
    """The numbers of one decision, in blocks (contract.md section 5; P, A(r), held and available(r) are of section 1).

    Parameters
    ----------
    active_live_blocks_required : |A(r)|.
    active_live_blocks_current : blocks that requests hold.
    protected_resident_blocks : |P|.
    resident_plus_active_blocks : |P u held u A(r)|.
    free_blocks_before_allocate : available(r).
    capacity_shortfall_blocks : new blocks - available(r); zero or less when room is not what is missing.
    blocking_claim_ids : by blocks in the way descending, then by acceptance.
    sufficient_claim_ids : an inclusion-minimal set whose end would admit the request; empty if there is none.
    protected_resident_claims : claims whose footprints make up P, by acceptance.
    """

    active_live_blocks_required: int
    active_live_blocks_current: int
    usable_blocks: int
    protected_resident_blocks: int
    resident_plus_active_blocks: int
    free_blocks_before_allocate: int
    capacity_shortfall_blocks: int
    feasibility: Feasibility
    blocking_claim_ids: tuple[str, ...]
    sufficient_claim_ids: tuple[str, ...]
    protected_resident_claims: tuple[str, ...]
    future_reuse_requested: bool
    future_reuse_admitted: bool
    arbiter_action: ArbiterAction

    def as_fields(self) -> dict[str, object]:
        """Return the record as JSON values, under the names events use. O(claims named)."""
        return {field.name: _json_value(getattr(self, field.name)) for field in fields(self)}


class Admitted(NamedTuple):
    """The request runs. Prefill starts at token `num_cached_tokens`; `new_blocks` were taken for the rest.

    A named tuple, because every request makes one: a frozen dataclass takes twice as long.
    """

    request_id: str
    row: int
    num_cached_tokens: int
    new_blocks: int


@dataclass(frozen=True, slots=True)
class Deferred:
    """No room now; the same request fits later, when running requests end. Nothing changed."""

    request_id: str
    record: ConflictRecord


@dataclass(frozen=True, slots=True)
class Refused:
    """The request can not fit beside the claims that stand, however long it waits. Nothing changed."""

    request_id: str
    record: ConflictRecord


@dataclass(frozen=True, slots=True)
class NeedsRoom:
    """A step lacks `shortfall` blocks for these requests. Nothing changed; preempt a request and plan again."""

    request_ids: tuple[str, ...]
    shortfall: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The claim holds from now on. `state` is MATERIALIZED when its blocks were already there."""

    claim_id: str
    lifecycle_generation: int
    state: ClaimState
    protected_resident_blocks: int  # |P| with this claim


@dataclass(frozen=True, slots=True)
class Rejected:
    """The claim was not accepted, so nothing is attributed to it. `numbers` say what was wanted and what there is."""

    claim_id: str
    reason: RejectReason
    numbers: Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Renewal:
    """Answer to a renewal: the revision now in force, and what the call did."""

    claim_id: str
    revision: int
    status: RenewStatus


@dataclass(frozen=True, slots=True)
class PlannedAction:
    """One step of an arbiter's plan: what to do to which claim."""

    claim_id: str
    action: ClaimAction


@dataclass(frozen=True, slots=True)
class Explanation:
    """What admitting a request would do. Nothing was changed to find out.

    Parameters
    ----------
    decision : "admitted", "deferred" or "refused".
    record : the numbers, before any action.
    actions : what the arbiter would do to claims so that the request fits, in order.
    num_evicted_blocks : cached blocks the admission would evict.
    """

    decision: str
    record: ConflictRecord
    actions: tuple[PlannedAction, ...]
    num_evicted_blocks: int


def _json_value(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
