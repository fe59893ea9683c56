"""Lies about offload: a trace of one claim's two offload generations, written by hand as a backend would, then bent."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from residentkv.lowering.bad.case import MODE, RUNTIME, VERSION, Case, evidence, lines, row, trace_anchor
from residentkv.lowering.vocabulary import BUNDLES, Label, Mode

Events = list[dict[str, Any]]

_STAMP: Final = {
    "schema_version": 1, "run_id": "r", "policy": "offload_first", "usable_blocks": 80, "request_id": None,
    "runtime": RUNTIME, "runtime_version": VERSION, "runtime_mode": MODE, "evidence_role": "enforces",
}  # fmt: skip
_CLAIM: Final = {
    "claim_id": "prompt", "prefix_id": "p", "reusable_object_id": "o", "request_token_map_id": "t",
    "cache_identity": "model/16/bf16", "predicate_id": "q", "materialization_predicate": "leading_prefix_at_least(60)",
    "lifecycle_generation": 1, "protection_mode": "offloadable", "resident_blocks_required": 60,
    "resident_blocks_materialized": 60, "leading_blocks_survived": 60, "predicate_materialized": True,
}  # fmt: skip
_TO_HOST: Final = {
    "cache_tier": "host_offload_tier", "cache_tier_from": "gpu_kv_cache", "cache_tier_to": "host_offload_tier",
    "block_count_footprint": 60,
}  # fmt: skip
_TO_GPU: Final = {
    "cache_tier": "gpu_kv_cache", "cache_tier_from": "host_offload_tier", "cache_tier_to": "gpu_kv_cache",
    "block_count_footprint": 60,
}  # fmt: skip
_RESTORED: Final = "resident_claim_restored"
_REUSED: Final = "resident_claim_reuse_after_restore"
_FAILED: Final = "resident_claim_restoration_failed"


def honest() -> Events:
    """Offloaded, restored and reused; offloaded again, and the restore fails in a refusal that names the claim."""
    first = {**_CLAIM, "offload_generation": 1, "restoration_generation": 1}
    second = {**_CLAIM, "offload_generation": 2, "restoration_generation": 2}
    needed = {"reuse_requires_restoration": True}
    return [
        {**_CLAIM, "event": "resident_claim_submitted", "lifecycle_generation": None},
        {**_CLAIM, "event": "resident_claim_accepted", "claim_registration": "pre_registered"},
        {**_CLAIM, "event": "resident_claim_materialized"},
        {**first, **_TO_HOST, "event": "resident_claim_offloaded"},
        {**first, **needed, "event": "resident_claim_restore_required", "request_id": "reuse"},
        {
            **first, **_TO_GPU, "event": _RESTORED, "request_id": "reuse",
            "restored_from_offload_tier": True, "restoration_source": "offload_tier",
        },
        {**first, "event": _REUSED, "request_id": "reuse", "predicate_satisfied": True},
        {**second, **_TO_HOST, "event": "resident_claim_offloaded"},
        {**second, **needed, "event": "resident_claim_restore_required", "request_id": "late"},
        {
            **second, "event": _FAILED, "request_id": "late",
            "claim_scoped_outcome_type": "refusal", "outcome_claim_id": "prompt",
        },
        {
            "event": "active_request_refused", "request_id": "late", "claim_id": None,
            "outcome_claim_id": "prompt", "blocking_claim_ids": ["prompt"],
        },
    ]  # fmt: skip


def _content(events: Events) -> bytes:
    numbered = [
        {**_STAMP, "evidence_depth": "native", **event}
        | ({} if "event_sequence" in event else {"event_sequence": at, "timestamp_ns": at})
        for at, event in enumerate(events)
    ]
    return "".join(json.dumps(event) + "\n" for event in numbered).encode()


def _edit(name: str, changes: Mapping[str, Any]) -> Callable[[Events], Events]:
    return lambda events: [{**event, **changes} if event["event"] == name else event for event in events]


def _everywhere(changes: Mapping[str, Any]) -> Callable[[Events], Events]:
    return lambda events: [
        {**event, **changes} if event["event"].startswith("resident_") else event for event in events
    ]


def _without(name: str) -> Callable[[Events], Events]:
    return lambda events: [event for event in events if event["event"] != name]


def _swap(first: str, second: str) -> Callable[[Events], Events]:
    def swapped(events: Events) -> Events:
        names = [event["event"] for event in events]
        one, two = names.index(first), names.index(second)
        events[one], events[two] = events[two], events[one]
        return events

    return swapped


def _nameless(events: Events) -> Events:
    """Counters instead of a claim."""
    dropped = _CLAIM.keys() - {"lifecycle_generation"}
    return [{name: value for name, value in event.items() if name not in dropped} for event in events]


def _one_generation(events: Events) -> Events:
    return events[:7]


_LIES: Final[dict[str, tuple[str, Callable[[Events], Events]]]] = {
    "restore-after-reuse": ("offload_restorability", _swap(_RESTORED, _REUSED)),
    "restore-left-out": ("offload_restorability", _without(_RESTORED)),
    "recompute-counted-as-restore": ("offload_restorability", _edit(_RESTORED, {"restoration_source": "recompute"})),
    "restore-not-from-the-tier": ("offload_restorability", _edit(_RESTORED, {"restored_from_offload_tier": False})),
    "reuse-without-the-predicate": ("offload_restorability", _edit(_REUSED, {"predicate_satisfied": False})),
    "offload-that-stays-on-the-device": (
        "offload_restorability", _edit("resident_claim_offloaded", {"cache_tier_to": "gpu_kv_cache"})
    ),
    "never-offloaded": ("offload_restorability", _without("resident_claim_offloaded")),
    "failure-never-seen": ("restoration_failure_outcome", _one_generation),
    "failure-of-the-wrong-claim": ("restoration_failure_outcome", _edit(_FAILED, {"outcome_claim_id": "other"})),
    "failure-without-outcome": ("restoration_failure_outcome", _without("active_request_refused")),
    "refusal-smeared-onto-a-bystander": (
        "restoration_failure_outcome", _edit("active_request_refused", {"blocking_claim_ids": ["prompt", "other"]})
    ),
    "refusal-in-anothers-name": (
        "restoration_failure_outcome", _edit("active_request_refused", {"outcome_claim_id": "other"})
    ),
    "claim-registered-afterwards": ("pre_registered_accepted_claim", _edit(
        "resident_claim_accepted", {"claim_registration": "post_hoc"})),
    "never-accepted": ("pre_registered_accepted_claim", _without("resident_claim_accepted")),
    "accepted-after-it-was-materialized": (
        "pre_registered_accepted_claim", _swap("resident_claim_accepted", "resident_claim_materialized")
    ),
    "counters-without-a-claim": ("pre_registered_accepted_claim", _nameless),
    "offload-token-map-missing": (
        "fixed_cache_identity_and_deterministic_request_token_map", _everywhere({"request_token_map_id": None})
    ),
    "offload-cache-identity-missing": (
        "fixed_cache_identity_and_deterministic_request_token_map", _everywhere({"cache_identity": None})
    ),
    "offload-of-two-objects": ("reusable_object_id", _edit(_RESTORED, {"reusable_object_id": "another"})),
    "offload-predicate-changed": (
        "stable_claim_id_and_fixed_materialization_predicate", _edit(_RESTORED, {"predicate_id": "another"})
    ),
    "offload-without-order": ("ordered_lifecycle_events", _everywhere({"event_sequence": 1, "timestamp_ns": 1})),
    "offload-of-a-claim-that-never-materialized": (
        "materialization_predicate", _edit("resident_claim_materialized", {"predicate_materialized": False})
    ),
}  # fmt: skip


def _case(name: str, label: Label, reason: str, events: Events, *more: Mapping[str, Any]) -> Case:
    content = _content(events)
    anchor = trace_anchor(content, "offload")
    pieces = [
        evidence(obligation.value, "meets", "claim_manager", anchor, *more) for obligation in BUNDLES[Mode.OFFLOADABLE]
    ]
    return Case(name, label, reason, row("offloadable", "claim_manager", *pieces), {"run.jsonl": content})


def cases() -> list[Case]:
    """The lies, and the honest run."""
    code = lines("class ResidentClaimManager", "enabled = True", "ResidentClaimManager")
    return [
        *(_case(name, Label.UNKNOWN, reason, bend(honest())) for name, (reason, bend) in _LIES.items()),
        _case("honest-offload", Label.NATIVE, "", honest(), code),
        _case("honest-offload-without-lines-of-the-backend", Label.ADAPTER_POLICY, "at depth adapter", honest()),
    ]
