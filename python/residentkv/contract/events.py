"""The wire format of events (contract.md section 6): names, fields, and one check for either side of the wire."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final, Protocol

from residentkv.contract.decision import ConflictRecord
from residentkv.contract.errors import ContractError

SCHEMA_VERSION: Final = 1

Event = Mapping[str, Any]

# In the order of contract.md section 6.
EVENT_NAMES: Final[tuple[str, ...]] = (
    "resident_claim_submitted",
    "resident_claim_accepted",
    "resident_claim_rejected",
    "resident_block_materialized",
    "resident_claim_materialized",
    "resident_claim_preserved",
    "resident_claim_harmed",
    "resident_claim_demoted",
    "resident_claim_expired",
    "resident_claim_released",
    "resident_claim_block_lost_after_release",
    "resident_claim_offloaded",
    "resident_claim_restore_required",
    "resident_claim_restored",
    "resident_claim_reuse_after_restore",
    "resident_claim_restoration_failed",
    "active_request_admitted",
    "active_request_deferred",
    "active_request_refused",
    "active_live_bounded",
    "future_reuse_admitted",
    "future_reuse_denied",
    "allocation_victim_selected",
)

# Names other writers use for one of ours.
EVENT_ALIASES: Final[dict[str, str]] = {"resident_claim_relaxed": "resident_claim_demoted"}

COMMON_FIELDS: Final[tuple[str, ...]] = (
    "schema_version",
    "event",
    "event_sequence",
    "timestamp_ns",
    "run_id",
    "policy",
    "request_id",
    "claim_id",
    "usable_blocks",
)
_NEVER_NULL: Final[tuple[str, ...]] = tuple(name for name in COMMON_FIELDS if name not in ("request_id", "claim_id"))

CLAIM_FIELDS: Final[tuple[str, ...]] = (
    "prefix_id",
    "reusable_object_id",
    "request_token_map_id",
    "cache_identity",
    "predicate_id",
    "materialization_predicate",
    "lifecycle_generation",
    "protection_mode",
    "resident_blocks_required",
    "resident_blocks_materialized",
    "leading_blocks_survived",
    "predicate_materialized",
)
# A claim that is not accepted has no life to number and no blocks to count.
_BEFORE_ACCEPTANCE: Final = ("resident_claim_submitted", "resident_claim_rejected")
_KNOWN_ONCE_ACCEPTED: Final = (
    "lifecycle_generation",
    "resident_blocks_materialized",
    "leading_blocks_survived",
    "predicate_materialized",
)
RECORD_FIELDS: Final[tuple[str, ...]] = tuple(
    field.name for field in fields(ConflictRecord) if field.name not in COMMON_FIELDS
)
_OFFLOAD_FIELDS: Final[tuple[str, ...]] = (
    "cache_tier",
    "cache_tier_from",
    "cache_tier_to",
    "offload_generation",
    "restoration_generation",
    "block_count_footprint",
)
_BLOCK_FIELDS: Final[tuple[str, ...]] = ("physical_block_id", "logical_block_position")

_OWN_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "resident_claim_accepted": ("claim_registration",),
    "resident_claim_rejected": ("reject_reason", "reject_numbers"),
    "resident_block_materialized": _BLOCK_FIELDS,
    "resident_claim_harmed": (*_BLOCK_FIELDS, "harm_cause", "predicate_before", "predicate_after"),
    "resident_claim_block_lost_after_release": _BLOCK_FIELDS,
    "resident_claim_offloaded": _OFFLOAD_FIELDS,
    "resident_claim_restore_required": (*_OFFLOAD_FIELDS, "reuse_requires_restoration"),
    "resident_claim_restored": (*_OFFLOAD_FIELDS, "restored_from_offload_tier", "restoration_source"),
    "resident_claim_reuse_after_restore": (*_OFFLOAD_FIELDS, "predicate_satisfied"),
    "resident_claim_restoration_failed": (*_OFFLOAD_FIELDS, "claim_scoped_outcome_type", "outcome_claim_id"),
    "active_request_admitted": (*RECORD_FIELDS, "reused_blocks", "new_blocks"),
    "active_request_deferred": RECORD_FIELDS,
    "active_request_refused": RECORD_FIELDS,
    "active_live_bounded": RECORD_FIELDS,
    "allocation_victim_selected": (*_BLOCK_FIELDS, "is_protected_resident", "victim_reason"),
}


def is_claim_event(name: str) -> bool:
    """Whether events of this name are about one claim, and so carry CLAIM_FIELDS."""
    return name.startswith("resident_")


def _schema(name: str) -> tuple[str, ...]:
    return COMMON_FIELDS + (CLAIM_FIELDS if is_claim_event(name) else ()) + _OWN_FIELDS.get(name, ())


EVENT_FIELDS: Final[dict[str, tuple[str, ...]]] = {name: _schema(name) for name in EVENT_NAMES}
_BLANKS: Final[dict[str, dict[str, Any]]] = {
    name: {**dict.fromkeys(names), "schema_version": SCHEMA_VERSION, "event": name}
    for name, names in EVENT_FIELDS.items()
}


class EventSink(Protocol):
    """Receives events in order. An exception it raises disables it and is reported; it never reaches the runtime."""

    def write(self, event: Event) -> None:
        """Take one event. It is never changed afterwards."""

    def flush(self) -> None:
        """Make what was written durable or visible."""

    def close(self) -> None:
        """Flush and let go of resources. No write follows."""


def make_event(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Build an event with its whole schema: `values` where given, null elsewhere.

    Raises
    ------
    ContractError : an unknown event, or a value whose field this event does not have.
    """
    blank = _BLANKS.get(name)
    if blank is None:
        raise ContractError(f"unknown event {name!r}")
    event = {**blank, **values}
    if len(event) != len(blank):
        raise ContractError(f"{name} has no field {sorted(event.keys() - blank.keys())}")
    return event


def event_problem(event: Event) -> str | None:
    """Say what keeps `event` from being complete, or None. Unknown extra fields are ignored, aliases are read."""
    name = canonical_name(event)
    if name not in EVENT_FIELDS:
        return f"unknown event {name!r}"
    missing = [field for field in EVENT_FIELDS[name] if field not in event]
    if missing:
        return f"{name} lacks {', '.join(missing)}"
    if event["schema_version"] != SCHEMA_VERSION:
        return f"schema_version is {event['schema_version']!r}, not {SCHEMA_VERSION}"
    required = [*_NEVER_NULL]
    if is_claim_event(name):
        required += ["claim_id", *CLAIM_FIELDS]
        if name in _BEFORE_ACCEPTANCE:
            required = [field for field in required if field not in _KNOWN_ONCE_ACCEPTED]
    null = [field for field in required if event[field] is None]
    if null:
        return f"{name} has null {', '.join(null)}"
    return None


def canonical_name(event: Event) -> str:
    """Return the event's name, with aliases replaced by ours."""
    name = event.get("event")
    return EVENT_ALIASES.get(name, name) if isinstance(name, str) else repr(name)
