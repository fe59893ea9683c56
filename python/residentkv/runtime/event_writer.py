"""From native records to complete events: numbers become names, and what Python knew is added by sequence number."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from residentkv._core import EVENT_KINDS, NO_REQUEST, VICTIM_REASONS
from residentkv.contract.decision import ArbiterAction, ConflictRecord, Feasibility
from residentkv.contract.events import Event, is_claim_event, make_event
from residentkv.runtime.cause_names import CauseNames
from residentkv.runtime.claim_names import ClaimNames, Survival
from residentkv.runtime.request_names import RequestNames

CAUSE_EVICTED: Final = "evicted"
"""Cause of a harm that came from an eviction; `request_id` says for whom."""

_ENDINGS: Final = frozenset(
    {"resident_claim_harmed", "resident_claim_demoted", "resident_claim_expired", "resident_claim_released"}
)
_BLOCK_LOST: Final = "resident_claim_block_lost_after_release"
_DENIED: Final = "future_reuse_denied"


@dataclass(frozen=True, slots=True)
class RunStamp:
    """What every event of a run carries."""

    run_id: str
    policy: str
    usable_blocks: int


@dataclass(frozen=True, slots=True)
class Details:
    """What only Python knew when it recorded an event; `record` becomes fields only when somebody reads the event."""

    request_id: str | None = None
    claim_fields: dict[str, Any] | None = None  # of a claim that has no number yet
    survival: Survival | None = None  # of a live claim, when the event was recorded
    record: ConflictRecord | None = None


class Record(NamedTuple):
    """One native record (csrc/core/event.hpp), without its padding."""

    sequence: int
    timestamp_ns: int
    request: int
    kind: int
    cause: int
    claim: int
    block: int
    position: int
    required: int
    materialized: int
    leading: int
    predicate_before: int
    predicate_after: int
    is_protected: int


class EventWriter:
    """Writes the events of one run, in order.

    A number that nobody can name leaves its field null: an incomplete event is seen and repaired, a lost one is not.
    """

    __slots__ = ("_causes", "_claims", "_relaxed_for", "_requests", "_stamp", "_victim")

    def __init__(self, stamp: RunStamp, claims: ClaimNames, requests: RequestNames, causes: CauseNames) -> None:
        self._stamp = {"run_id": stamp.run_id, "policy": stamp.policy, "usable_blocks": stamp.usable_blocks}
        self._claims = claims
        self._requests = requests
        self._causes = causes
        self._relaxed_for: set[int] = set()
        self._victim: Record | None = None

    def note_relaxed_for(self, key: int) -> None:
        """The admission with this key was made possible by acting on a claim; its event will say so."""
        self._relaxed_for.add(key)

    def write(self, native: NDArray[np.void], details: dict[int, Details]) -> list[Event]:
        """One event per record. Takes the details it used out of `details`. O(records)."""
        records = [Record(*values) for values in native[list(Record._fields)].tolist()]
        names = [EVENT_KINDS[record.kind] for record in records]
        none = Details()
        return [
            self._event(record, name, details.pop(record.sequence, none), following)
            for record, name, following in zip(records, names, [*names[1:], ""], strict=False)
        ]

    def _event(self, record: Record, name: str, details: Details, following: str) -> Event:
        values: dict[str, Any] = {
            **self._stamp,
            "event_sequence": record.sequence,
            "timestamp_ns": record.timestamp_ns,
            "request_id": details.request_id or self._requests.id_of_key(record.request),
        }
        if is_claim_event(name):
            values.update(self._claim_values(record, name, details))
        elif name == "active_request_admitted":
            values.update(self._admitted_values(record, following))
        elif name == "allocation_victim_selected":
            self._victim = record
            values.update(self._victim_values(record))
        if details.record is not None:
            values.update(details.record.as_fields())
        return make_event(name, values)

    def _claim_values(self, record: Record, name: str, details: Details) -> dict[str, Any]:
        if details.claim_fields is not None:
            return details.claim_fields
        values: dict[str, Any] = {}
        if record.block >= 0:
            values["physical_block_id"] = record.block
            values["logical_block_position"] = record.position
        claim = self._claims.get(record.claim)
        if claim is None:
            return values
        if details.survival is not None:
            claim.survival = details.survival
        elif record.required >= 0:
            claim.survival = Survival(record.materialized, record.leading, bool(record.predicate_after))
        elif name == _BLOCK_LOST:
            claim.lose(record.position)
        elif record.request != NO_REQUEST:  # else the block was there when the claim was accepted, and was counted
            claim.gain(record.position)
        values.update(claim.as_fields())
        if name == "resident_claim_accepted":
            values["claim_registration"] = "pre_registered"
        elif name == "resident_claim_harmed":
            values.update(self._harm_values(record))
        if name in _ENDINGS:
            self._claims.ended(record.claim)
        elif name == _BLOCK_LOST:
            self._claims.lost(record.block, record.claim)
        return values

    def _harm_values(self, record: Record) -> dict[str, Any]:
        values: dict[str, Any] = {
            "harm_cause": self._causes[record.cause] if record.request == NO_REQUEST else CAUSE_EVICTED,
            "predicate_before": bool(record.predicate_before),
            "predicate_after": bool(record.predicate_after),
        }
        victim = self._victim
        if record.request != NO_REQUEST and victim is not None:  # harm comes right after the victim that caused it
            values["physical_block_id"] = victim.block
            values["logical_block_position"] = victim.position
        return values

    def _admitted_values(self, record: Record, following: str) -> dict[str, Any]:
        is_reusable = following != _DENIED
        return {
            "active_live_blocks_required": record.required,
            "reused_blocks": record.materialized,
            "new_blocks": record.leading,
            "feasibility": Feasibility.FEASIBLE.value,
            "future_reuse_requested": is_reusable,
            "future_reuse_admitted": is_reusable,
            "arbiter_action": self._serving_action(record, is_reusable=is_reusable).value,
        }

    def _serving_action(self, record: Record, *, is_reusable: bool) -> ArbiterAction:
        if record.request in self._relaxed_for:
            self._relaxed_for.remove(record.request)
            return ArbiterAction.RELAX_RESIDENT_CLAIM
        if not is_reusable:
            return ArbiterAction.SERVE_ACTIVE_NO_ADMIT
        if record.position > 0:  # blocks that this admission evicted
            return ArbiterAction.SERVE_ACTIVE_EVICT_RESIDENT
        return ArbiterAction.SERVE_ACTIVE_PRESERVE_RESIDENT

    def _victim_values(self, record: Record) -> dict[str, Any]:
        claim = self._claims.get(record.claim)
        return {
            "claim_id": None if claim is None else claim.fields["claim_id"],
            "physical_block_id": record.block,
            "logical_block_position": record.position,
            "is_protected_resident": bool(record.is_protected),
            "victim_reason": VICTIM_REASONS[record.cause],
        }
