"""Honest traces, written event by event as a runtime and a serving engine would; and the ways to damage one."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Event = dict[str, Any]

_COMMON = {"schema_version": 1, "run_id": "run-1", "policy": "offload_first", "usable_blocks": 80}
_TO_HOST = {"cache_tier": "host_offload_tier", "cache_tier_from": "gpu_kv_cache", "cache_tier_to": "host_offload_tier"}
_TO_GPU = {"cache_tier": "gpu_kv_cache", "cache_tier_from": "host_offload_tier", "cache_tier_to": "gpu_kv_cache"}


def identity(claim_id: str) -> Event:
    return {
        "claim_id": claim_id,
        "prefix_id": f"{claim_id}-prefix",
        "reusable_object_id": f"{claim_id}-object",
        "request_token_map_id": f"{claim_id}-tokens",
        "cache_identity": {"model_id": "m", "block_size": 16, "kv_format": "bf16"},
        "predicate_id": f"{claim_id}-predicate",
        "materialization_predicate": "leading_prefix_at_least(60)",
    }


def offload_lifecycle(claim_id: str = "a", outcome: str = "refusal") -> list[Event]:
    """One claim: accepted, offloaded, restored, reused; offloaded again, and its restore fails."""
    claim = {
        **identity(claim_id),
        "lifecycle_generation": 1,
        "protection_mode": "offloadable",
        "resident_blocks_required": 60,
        "resident_blocks_materialized": 60,
        "leading_blocks_survived": 60,
        "predicate_materialized": True,
    }
    first = {"offload_generation": 1, "restoration_generation": 1, "block_count_footprint": 60}
    second = {"offload_generation": 2, "restoration_generation": 2, "block_count_footprint": 60}
    failed = {"claim_scoped_outcome_type": outcome, "outcome_claim_id": claim_id}
    reuse, refused = {"request_id": "reuse"}, {"request_id": "refused"}
    events: list[Event] = [
        {**claim, "event": "resident_claim_submitted", "lifecycle_generation": None},
        {**claim, "event": "resident_claim_accepted", "claim_registration": "pre_registered"},
        {**claim, "event": "resident_block_materialized", "physical_block_id": 3, "logical_block_position": 0},
        {**claim, "event": "resident_claim_materialized"},
        {**claim, **first, **_TO_HOST, "event": "resident_claim_offloaded"},
        {**claim, **first, **reuse, "event": "resident_claim_restore_required", "reuse_requires_restoration": True},
        {
            **claim, **first, **reuse, **_TO_GPU,
            "event": "resident_claim_restored",
            "restored_from_offload_tier": True,
            "restoration_source": "offload_tier",
        },
        {**claim, **first, **reuse, "event": "resident_claim_reuse_after_restore", "predicate_satisfied": True},
        {**claim, **second, **_TO_HOST, "event": "resident_claim_offloaded"},
        {**claim, **second, **refused, "event": "resident_claim_restore_required", "reuse_requires_restoration": True},
        {**claim, **second, **refused, **failed, "event": "resident_claim_restoration_failed"},
        _outcome(outcome, claim, refused["request_id"]),
    ]  # fmt: skip
    return numbered(events)


def _outcome(outcome: str, claim: Event, request_id: str) -> Event:
    if outcome == "refusal":
        blocking = [claim["claim_id"]]
        return {
            "event": "active_request_refused",
            "request_id": request_id,
            "claim_id": None,
            "outcome_claim_id": claim["claim_id"],
            "blocking_claim_ids": blocking,
        }
    ending = {"demotion": "demoted", "expiry": "expired", "harm": "harmed", "release": "released"}[outcome]
    return {**claim, "event": f"resident_claim_{ending}", "outcome_claim_id": claim["claim_id"]}


def connector_life(claim_id: str = "a", *, fails: bool = True, first_job: int = 1) -> list[Event]:
    """One claim in an engine: stored, loaded back; then, if it `fails`, a second load that does not arrive."""
    store, load, lost = first_job, first_job + 1, first_job + 2
    claim = identity(claim_id)
    own = {"claim_id": claim_id}
    first, reuse, last = ({**own, "request_id": f"{claim_id}-{name}"} for name in ("first", "reuse", "last"))
    events: list[Event] = [
        {**claim, "event": "request_initialized", "request_id": first["request_id"]},
        {**first, "event": "offload_store_job_created", "job_id": store},
        {
            **own, "event": "offload_worker_transfer_finished", "job_id": store,
            "transfer_type": ["GPU", "CPU"], "success": True,
        },
        {**first, "event": "offload_job_completed", "job_id": store, "is_store": True},
        {**first, "event": "offload_request_finished_no_pending_jobs"},
        {**claim, "event": "request_initialized", "request_id": reuse["request_id"]},
        *_load(own, reuse, load),
        {
            **own, "event": "offload_worker_transfer_finished", "job_id": load,
            "transfer_type": ["CPU", "GPU"], "success": True,
        },
        {**reuse, "event": "resident_claim_restored", "restored_from_offload_tier": True},
        {**reuse, "event": "offload_job_completed", "job_id": load, "is_store": False},
        {**reuse, "event": "offload_request_finished_no_pending_jobs"},
    ]  # fmt: skip
    if fails:
        events += [{**claim, "event": "request_initialized", "request_id": last["request_id"]}, *_load(own, last, lost)]
        events += _failed_load(own, last, lost)
    return numbered(events)


def _load(own: Event, request: Event, job: int) -> list[Event]:
    return [
        {**request, "event": "offload_lookup_result", "num_hit_tokens": 960, "will_load_async": True},
        {**request, "event": "resident_claim_restore_required", "reuse_requires_restoration": True},
        {**request, "event": "offload_load_job_created", "job_id": job},
    ]


def _failed_load(own: Event, request: Event, job: int) -> list[Event]:
    outcome = {"outcome_claim_id": own["claim_id"]}
    refusal = {**outcome, "blocking_claim_ids": [own["claim_id"]]}
    return [
        {
            **own, "event": "offload_worker_transfer_finished", "job_id": job,
            "transfer_type": ["CPU", "GPU"], "success": False,
        },
        {
            **request, **outcome, "event": "scheduler_resident_claim_restoration_failed",
            "scheduler_side_failure_outcome": True,
        },
        {
            **request, **refusal, "event": "scheduler_active_request_refused",
            "scheduler_side_refusal": True, "native_scheduler_admission_refusal": False,
        },
        {**request, "event": "offload_load_job_failed", "job_id": job},
        {**request, **outcome, "event": "resident_claim_restoration_failed", "claim_scoped_outcome_type": "refusal"},
        {**request, **refusal, "event": "active_request_refused"},
        {**request, "event": "offload_request_finished_pending_jobs"},
    ]  # fmt: skip


def crowd() -> list[Event]:
    """A target whose load fails beside a bystander that is restored, their events interleaved."""
    target, other = connector_life("a"), connector_life("b", fails=False, first_job=11)
    events = []
    for place in range(max(len(target), len(other))):
        events += target[place : place + 1] + other[place : place + 1]
    return numbered(events)


def numbered(events: Iterable[Mapping[str, Any]]) -> list[Event]:
    """Give events the common fields and their place as the order."""
    return [
        {"request_id": None, **_COMMON, **event, "event_sequence": place, "timestamp_ns": 1_000 * place}
        for place, event in enumerate(events, start=1)
    ]


def write(path: Path, events: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return path


def place_of(events: list[Event], name: str, nth: int = 0) -> int:
    """Index of the nth event of that name (from the end if negative)."""
    return [place for place, event in enumerate(events) if event["event"] == name][nth]


def edited(events: list[Event], name: str, changes: Mapping[str, Any], nth: int = 0) -> list[Event]:
    """The same trace with fields of one event changed; a change to `...` drops the field."""
    at = place_of(events, name, nth)
    event = {field: value for field, value in {**events[at], **changes}.items() if value is not ...}
    return [*events[:at], event, *events[at + 1 :]]


def without(events: list[Event], name: str, nth: int = 0) -> list[Event]:
    """The same trace with one event left out."""
    at = place_of(events, name, nth)
    return [*events[:at], *events[at + 1 :]]


def swapped(events: list[Event], first: tuple[str, int], second: tuple[str, int]) -> list[Event]:
    """The same trace with two events in each other's place, renumbered."""
    changed = list(events)
    one, two = place_of(events, *first), place_of(events, *second)
    changed[one], changed[two] = changed[two], changed[one]
    return numbered(changed)
