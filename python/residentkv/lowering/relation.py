"""The relation between what runtimes have and what the contract asks for: which may stand for which, and why not.

Both tables are white lists. A pair that nobody wrote down is a nearby feature taken for the contract.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from residentkv.lowering.vocabulary import Mode, Obligation


class Mechanism(str, Enum):
    """Kinds of features that runtimes have."""

    EVICTION_ORDER = "eviction_order"
    RETENTION_PRIORITY = "retention_priority"
    RETENTION_TTL = "retention_ttl"
    LEASE = "lease"
    REFERENCE_COUNT = "reference_count"
    PIN_CALL = "pin_call"
    FORCED_UNPIN_TIMER = "forced_unpin_timer"
    REUSE_CALLBACK = "reuse_callback"
    BLOCK_EVENT = "block_event"
    COUNTER = "counter"
    LOOKUP_HIT = "lookup_hit"
    CACHE_KEY = "cache_key"
    SESSION_TAG = "session_tag"
    OFFLOAD_COPY = "offload_copy"
    RESTORE_PATH = "restore_path"
    LOAD_FAILURE_POLICY = "load_failure_policy"
    ROUTER_AFFINITY = "router_affinity"
    SCHEDULER_RESERVATION = "scheduler_reservation"
    MEMORY_LIMIT = "memory_limit"
    WRITE_FILTER = "write_filter"
    EVENT_LOG = "event_log"
    VICTIM_GUARD = "victim_guard"
    ADAPTER_JOIN = "adapter_join"
    ADAPTER_ARBITER = "adapter_arbiter"
    CLAIM_MANAGER = "claim_manager"


# What each kind is, in the words of a reason: "X is taken for Y: ...".
NATURE: Final[Mapping[Mechanism, str]] = {
    Mechanism.EVICTION_ORDER: "a place in the order of eviction is lost to whoever comes later, and nobody is told",
    Mechanism.RETENTION_PRIORITY: "a priority changes who is evicted first and promises nobody to stay",
    Mechanism.RETENTION_TTL: "a time to live bounds a preference; the block may be lost before, silently",
    Mechanism.LEASE: "a lease keeps an object for a while, belongs to no claim and ends without an event",
    Mechanism.REFERENCE_COUNT: "a reference says that somebody uses a block now, not that a claim on it was accepted",
    Mechanism.PIN_CALL: "a pin that answers with a count, or with nothing, has accepted no claim",
    Mechanism.FORCED_UNPIN_TIMER: "a timer that nobody declared ends the promise",
    Mechanism.REUSE_CALLBACK: "a callback says that a block is being taken, not whose claim ends",
    Mechanism.BLOCK_EVENT: "a block removed is not a claim harmed: the event names no claim and no cause",
    Mechanism.COUNTER: "a counter has no identity, no order and no outcome",
    Mechanism.LOOKUP_HIT: "a hit says what is present at one moment and binds nobody for the next",
    Mechanism.CACHE_KEY: "a key says what is equal, not what is kept",
    Mechanism.SESSION_TAG: "a tag groups blocks that stay evictable",
    Mechanism.OFFLOAD_COPY: "bytes moved to another tier are not restored before reuse",
    Mechanism.RESTORE_PATH: "bytes that came back are not a claim whose predicate was checked",
    Mechanism.LOAD_FAILURE_POLICY: "a policy for failed loads ends or recomputes a request and names no claim",
    Mechanism.ROUTER_AFFINITY: "routed to a worker with a matching cache is not placed for an accepted claim",
    Mechanism.SCHEDULER_RESERVATION: "room reserved for running requests protects nothing that no request runs on",
    Mechanism.MEMORY_LIMIT: "a limit on bytes knows no prefix and no claim",
    Mechanism.WRITE_FILTER: "a filter on what enters the cache protects nothing that is in it",
    Mechanism.EVENT_LOG: "an ordered log says what happened and prevents nothing",
    Mechanism.VICTIM_GUARD: "excluding a victim without refusing or naming anybody leaves the conflict unexplained",
    Mechanism.ADAPTER_JOIN: "a join observes what the backend decided",
    Mechanism.ADAPTER_ARBITER: "code beside the backend decides, the backend itself promises nothing",
    Mechanism.CLAIM_MANAGER: "a claim manager accepts, guards and reports",
}

_WHOLE: Final = frozenset({Mechanism.ADAPTER_JOIN, Mechanism.ADAPTER_ARBITER, Mechanism.CLAIM_MANAGER})
_REFERENCES: Final = frozenset({Mechanism.REFERENCE_COUNT, Mechanism.PIN_CALL})

# What may be a useful part of a mode. Anything else that is mapped onto it is rejected.
USEFUL: Final[Mapping[Mode, frozenset[Mechanism]]] = {
    Mode.HARD_PROTECTED: _WHOLE | _REFERENCES | {Mechanism.VICTIM_GUARD},
    Mode.SOFT_PRIORITY: _WHOLE | {Mechanism.RETENTION_PRIORITY, Mechanism.PIN_CALL, Mechanism.RETENTION_TTL},
    Mode.DEMOTABLE: _WHOLE | _REFERENCES | {Mechanism.REUSE_CALLBACK},
    Mode.EXPIRING: _WHOLE | {Mechanism.RETENTION_TTL, Mechanism.LEASE},
    Mode.OFFLOADABLE: _WHOLE | {Mechanism.OFFLOAD_COPY, Mechanism.RESTORE_PATH, Mechanism.LOAD_FAILURE_POLICY},
    Mode.BEST_EFFORT: _WHOLE | {Mechanism.BLOCK_EVENT, Mechanism.EVENT_LOG},
    Mode.ROUTING: _WHOLE | {Mechanism.ROUTER_AFFINITY},
    Mode.WRITE_NO_ADMIT: _WHOLE | {Mechanism.WRITE_FILTER},
}

# What may meet an obligation. A row that says that anything else meets it is rejected.
CARRIERS: Final[Mapping[Obligation, frozenset[Mechanism]]] = {
    **dict.fromkeys(Obligation, _WHOLE),
    Obligation.CACHE_IDENTITY_AND_TOKEN_MAP: _WHOLE | {Mechanism.CACHE_KEY},
    Obligation.ORDERED_LIFECYCLE_EVENTS: _WHOLE | {Mechanism.EVENT_LOG},
    Obligation.VICTIM_EXCLUSION: _WHOLE | _REFERENCES | {Mechanism.VICTIM_GUARD},
    Obligation.CLAIM_SCOPED_PRIORITY_INFLUENCE: _WHOLE | {Mechanism.RETENTION_PRIORITY},
    Obligation.OFFLOAD_RESTORABILITY: _WHOLE | {Mechanism.RESTORE_PATH},
    Obligation.NO_ADMIT_SEPARATION: _WHOLE | {Mechanism.WRITE_FILTER},
}


def not_useful(mechanism: Mechanism, mode: Mode) -> str | None:
    """Say why the mechanism is no part of the mode, or None."""
    if mechanism in USEFUL[mode]:
        return None
    return f"{mechanism.value} is taken for {mode.value}: {NATURE[mechanism]}"


def not_carrying(mechanism: Mechanism, obligation: Obligation) -> str | None:
    """Say why the mechanism can not meet the obligation, or None."""
    if mechanism in CARRIERS[obligation]:
        return None
    return f"{mechanism.value} is taken for {obligation.value}: {NATURE[mechanism]}"
