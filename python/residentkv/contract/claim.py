"""A claim: what the caller asks for, what each mode promises, and the one table of its life."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from residentkv.contract.errors import ClaimStateError, ContractError
from residentkv.contract.identity import CacheIdentity, ExtraKeys, Tokens, checked_tokens
from residentkv.contract.predicate import ContiguousRange, LeadingPrefix, Predicate


class ProtectionMode(str, Enum):
    """What the runtime owes a claim (contract.md section 4)."""

    HARD_PROTECTED = "hard_protected"
    OFFLOADABLE = "offloadable"
    DEMOTABLE = "demotable"
    EXPIRING = "expiring"
    SOFT_PRIORITY = "soft_priority"
    BEST_EFFORT = "best_effort"

    @property
    def is_protecting(self) -> bool:
        """Whether accepted claims of this mode reserve room and can not be victims."""
        return self not in (ProtectionMode.SOFT_PRIORITY, ProtectionMode.BEST_EFFORT)


class ClaimAction(str, Enum):
    """What an arbiter may do to a claim under conflict."""

    OFFLOAD = "offload"
    DEMOTE = "demote"
    EXPIRE = "expire"


PERMITTED_ACTIONS: Final[dict[ProtectionMode, tuple[ClaimAction, ...]]] = {
    ProtectionMode.HARD_PROTECTED: (),
    ProtectionMode.OFFLOADABLE: (ClaimAction.OFFLOAD, ClaimAction.DEMOTE, ClaimAction.EXPIRE),
    ProtectionMode.DEMOTABLE: (ClaimAction.DEMOTE,),
    ProtectionMode.EXPIRING: (ClaimAction.EXPIRE,),
    ProtectionMode.SOFT_PRIORITY: (),
    ProtectionMode.BEST_EFFORT: (),
}


class ClaimState(str, Enum):
    """Where a claim is in its life."""

    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    MATERIALIZED = "materialized"
    OFFLOADED = "offloaded"
    RESTORING = "restoring"
    DEMOTED = "demoted"
    EXPIRED = "expired"
    RELEASED = "released"
    HARMED = "harmed"

    @property
    def is_final(self) -> bool:
        """Whether the runtime's responsibility has ended."""
        return self in _FINAL


class ClaimEvent(str, Enum):
    """What moves a claim from one state to the next."""

    ACCEPT = "accept"
    REJECT = "reject"
    MATERIALIZE = "materialize"
    OFFLOAD = "offload"
    BEGIN_RESTORE = "begin_restore"
    RESTORE = "restore"
    ABANDON_RESTORE = "abandon_restore"
    DEMOTE = "demote"
    EXPIRE = "expire"
    RELEASE = "release"
    HARM = "harm"


_FINAL: Final = frozenset(
    {ClaimState.REJECTED, ClaimState.DEMOTED, ClaimState.EXPIRED, ClaimState.RELEASED, ClaimState.HARMED}
)

_ENDINGS: Final = {
    ClaimEvent.DEMOTE: ClaimState.DEMOTED,
    ClaimEvent.EXPIRE: ClaimState.EXPIRED,
    ClaimEvent.RELEASE: ClaimState.RELEASED,
}

NEXT: Final[dict[ClaimState, dict[ClaimEvent, ClaimState]]] = {
    ClaimState.SUBMITTED: {ClaimEvent.ACCEPT: ClaimState.ACCEPTED, ClaimEvent.REJECT: ClaimState.REJECTED},
    ClaimState.ACCEPTED: {ClaimEvent.MATERIALIZE: ClaimState.MATERIALIZED, **_ENDINGS},
    ClaimState.MATERIALIZED: {ClaimEvent.OFFLOAD: ClaimState.OFFLOADED, ClaimEvent.HARM: ClaimState.HARMED, **_ENDINGS},
    ClaimState.OFFLOADED: {
        ClaimEvent.BEGIN_RESTORE: ClaimState.RESTORING,
        ClaimEvent.HARM: ClaimState.HARMED,
        **_ENDINGS,
    },
    ClaimState.RESTORING: {
        ClaimEvent.RESTORE: ClaimState.MATERIALIZED,
        ClaimEvent.ABANDON_RESTORE: ClaimState.OFFLOADED,
        ClaimEvent.HARM: ClaimState.HARMED,
        **_ENDINGS,
    },
}


def advance(state: ClaimState, event: ClaimEvent) -> ClaimState:
    """Return the state after `event`.

    Raises
    ------
    ClaimStateError : the table has no such transition.
    """
    following = NEXT.get(state, {}).get(event)
    if following is None:
        raise ClaimStateError(f"{event.value} is not allowed while {state.value}")
    return following


@dataclass(frozen=True, slots=True)
class Duration:
    """How long a claim lasts from its acceptance or renewal; with several limits, the first one reached ends it.

    Parameters
    ----------
    steps : planned steps, > 0.
    allocations : block allocations, > 0.
    nanoseconds : of the runtime's injected clock, > 0.

    Raises
    ------
    ContractError : no limit at all, or one that is not an int > 0.
    """

    steps: int | None = None
    allocations: int | None = None
    nanoseconds: int | None = None

    def __post_init__(self) -> None:
        limits = {"steps": self.steps, "allocations": self.allocations, "nanoseconds": self.nanoseconds}
        if all(limit is None for limit in limits.values()):
            raise ContractError("a duration needs steps, allocations or nanoseconds")
        for name, limit in limits.items():
            if limit is not None and (type(limit) is not int or limit <= 0):
                raise ContractError(f"duration {name} must be an int > 0, got {limit!r}")


@dataclass(frozen=True, slots=True)
class ClaimSpec:
    """What a caller asks for, checked as far as it can tell by itself; capacity, quota, identity are the runtime's.

    Parameters
    ----------
    claim_id, owner_scope : non-empty names; the scope pays the quota.
    tokens : ids in [0, 2**31), one-dimensional; kept as a tuple. They fix the nodes of the claim.
    predicate : fixed for the life of the claim.
    footprint_blocks : blocks protected, from predicate.predicate_blocks to len(tokens) // block_size; None takes what
        the predicate needs.
    duration : None lasts until released; an expiring claim must have one.
    predicted_value : finite, >= 0, in any unit the caller uses throughout; None if unknown.
    confidence : in [0, 1]; None counts as 1.
    allowed_actions : what may be done under conflict, in order of preference; None takes all the mode permits.
    extra_keys : one bytes or None per full block (adapter, multimodal content, salt); a missing tail means None.

    Raises
    ------
    ContractError : any of these is broken.
    """

    claim_id: str
    owner_scope: str
    cache_identity: CacheIdentity
    tokens: Tokens
    predicate: Predicate
    footprint_blocks: int | None = None
    mode: ProtectionMode = ProtectionMode.HARD_PROTECTED
    duration: Duration | None = None
    predicted_value: float | None = None
    confidence: float | None = None
    allowed_actions: tuple[ClaimAction, ...] | None = None
    extra_keys: ExtraKeys | None = None

    def __post_init__(self) -> None:
        _require_type("claim_id", self.claim_id, str)
        _require_type("owner_scope", self.owner_scope, str)
        if not self.claim_id or not self.owner_scope:
            raise ContractError("claim_id and owner_scope must not be empty")
        _require_type("cache_identity", self.cache_identity, CacheIdentity)
        _require_type("predicate", self.predicate, LeadingPrefix, ContiguousRange)
        _require_type("mode", self.mode, ProtectionMode)
        object.__setattr__(self, "tokens", checked_tokens(self.tokens))
        self._check_footprint()
        self._check_duration()
        _require_range("predicted_value", self.predicted_value, upper=math.inf)
        _require_range("confidence", self.confidence, upper=1.0)
        self._check_actions()
        _check_extra_keys(self.extra_keys, len(self.tokens) // self.cache_identity.block_size)

    @property
    def num_footprint_blocks(self) -> int:
        """Blocks this claim names: positions [0, num_footprint_blocks)."""
        return self.predicate.predicate_blocks if self.footprint_blocks is None else self.footprint_blocks

    @property
    def permitted_actions(self) -> tuple[ClaimAction, ...]:
        """What the arbiter may do to this claim, in order of preference."""
        return PERMITTED_ACTIONS[self.mode] if self.allowed_actions is None else self.allowed_actions

    @property
    def expected_value(self) -> float | None:
        """predicted_value * confidence, or None when no value was predicted."""
        if self.predicted_value is None:
            return None
        return self.predicted_value * (1.0 if self.confidence is None else self.confidence)

    def _check_footprint(self) -> None:
        needed, full_blocks = self.predicate.predicate_blocks, len(self.tokens) // self.cache_identity.block_size
        footprint = self.num_footprint_blocks
        _require_type("footprint_blocks", footprint, int)
        if not needed <= footprint <= full_blocks:
            raise ContractError(
                f"footprint_blocks={footprint}: the predicate needs {needed}, the tokens fill {full_blocks}"
            )

    def _check_duration(self) -> None:
        if self.duration is None and self.mode is ProtectionMode.EXPIRING:
            raise ContractError("an expiring claim needs a duration")
        if self.duration is not None:
            _require_type("duration", self.duration, Duration)

    def _check_actions(self) -> None:
        if self.allowed_actions is None:
            return
        actions = tuple(self.allowed_actions)
        for action in actions:
            _require_type("allowed_actions", action, ClaimAction)
            if action not in PERMITTED_ACTIONS[self.mode]:
                raise ContractError(f"{self.mode.value} does not permit {action.value}")
        if len(set(actions)) != len(actions):
            raise ContractError("allowed_actions names an action twice")
        object.__setattr__(self, "allowed_actions", actions)


def _check_extra_keys(extra_keys: ExtraKeys | None, num_full_blocks: int) -> None:
    if extra_keys is None:
        return
    if len(extra_keys) > num_full_blocks:
        raise ContractError(f"extra_keys has {len(extra_keys)} entries for {num_full_blocks} full blocks")
    for key in extra_keys:
        if key is not None:
            _require_type("extra_keys", key, bytes)


def _require_type(name: str, value: object, *types: type) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise ContractError(f"{name} must be {' or '.join(kind.__name__ for kind in types)}, got {value!r}")


def _require_range(name: str, value: object, *, upper: float) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ContractError(f"{name} must be a finite number, got {value!r}")
    if not 0 <= value <= upper:
        raise ContractError(f"{name} must be in [0, {upper:g}], got {value!r}")
