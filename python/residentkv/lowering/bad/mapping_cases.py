"""Nearby features taken for the contract: right anchors, wrong conclusions."""

from typing import Final

from residentkv.lowering.bad.case import Case, evidence, lines, row
from residentkv.lowering.relation import NATURE, Mechanism
from residentkv.lowering.vocabulary import Label

_EVICT: Final = lines("def evict", "return victims", "PrefixCache.evict")
_RETENTION: Final = lines("def set_retention", "expires_at = now", "PrefixCache.set_retention")
_REFRESH: Final = lines("def refresh", "priority = 35", "PrefixCache.refresh")
_LOCK: Final = lines("def inc_lock_ref", "refs += 1", "PrefixCache.inc_lock_ref")
_PIN: Final = lines("def pin", "return len(there)", "PrefixCache.pin")
_UNPIN: Final = lines("def unpin_timed_out", "pins = 0", "PrefixCache.unpin_timed_out")
_REMOVED: Final = lines("class BlockRemoved", 'medium: str = "gpu"', "BlockRemoved")
_OFFLOAD: Final = lines("def offload", "offloaded_bytes += num_bytes", "PrefixCache.offload")
_LOAD: Final = lines("def load_back", "return True", "PrefixCache.load_back")
_LOOKUP: Final = lines("def lookup", "return count", "PrefixCache.lookup")
_TAG: Final = lines("def tag", "session = session", "PrefixCache.tag")
_LIMIT: Final = lines("def set_limit", "return", "PrefixCache.set_limit")
_STORE: Final = lines("def store", "self.blocks[block.key] = block", "PrefixCache.store")
_KEY: Final = lines("class Block:", "key: bytes", "Block")
_ROUTER: Final = lines("def overlap_score", "return", "overlap_score")
_NO_EVICT: Final = lines("def reserve_to_completion", "return", "reserve_to_completion")
_NAME: Final = lines("class ResidentClaimManager", "enabled = True", "ResidentClaimManager")

# (mode, mechanism, obligation it is said to meet, where it is)
_MISTAKES: Final = {
    "priority-taken-for-protection": ("hard_protected", "retention_priority", "victim_exclusion", _RETENTION),
    "top-priority-taken-for-a-claim": ("hard_protected", "retention_priority", "accepted_claim_identity", _RETENTION),
    "priority-decay-taken-for-demotion": ("demotable", "retention_priority", "demotion_before_loss", _REFRESH),
    "ttl-taken-for-expiry-before-loss": ("expiring", "retention_ttl", "expiry_before_loss", _REFRESH),
    "ttl-taken-for-protection": ("hard_protected", "retention_ttl", "victim_exclusion", _RETENTION),
    "lock-refs-taken-for-accepted-claims": ("hard_protected", "reference_count", "accepted_claim_identity", _LOCK),
    "lock-refs-taken-for-attribution": ("hard_protected", "reference_count", "blocking_claim_attribution", _LOCK),
    "lock-refs-taken-for-refusal": ("hard_protected", "reference_count", "active_infeasibility_outcome", _LOCK),
    "pin-count-taken-for-acceptance": ("hard_protected", "pin_call", "accepted_claim_identity", _PIN),
    "partial-pin-reported-as-accepted": ("hard_protected", "pin_call", "materialization_predicate", _PIN),
    "unpin-taken-for-demotion": ("demotable", "pin_call", "demotion_before_loss", _PIN),
    "forced-unpin-timer-taken-for-expiry": ("expiring", "forced_unpin_timer", "expiry_before_loss", _UNPIN),
    "lease-taken-for-expiry-before-loss": ("expiring", "lease", "expiry_before_loss", _REFRESH),
    "block-removed-taken-for-harm": ("best_effort", "block_event", "claim_scoped_outcome", _REMOVED),
    "block-events-taken-for-a-life-cycle": ("best_effort", "block_event", "ordered_lifecycle_events", _REMOVED),
    "event-log-taken-for-outcomes": ("best_effort", "event_log", "claim_scoped_outcome", _EVICT),
    "offload-counter-taken-for-restore": ("offloadable", "counter", "offload_restorability", _OFFLOAD),
    "offload-counter-taken-for-an-outcome": ("offloadable", "counter", "claim_scoped_outcome", _OFFLOAD),
    "bytes-moved-to-host-taken-for-restore": ("offloadable", "offload_copy", "offload_restorability", _OFFLOAD),
    "offload-taken-for-protection": ("hard_protected", "offload_copy", "victim_exclusion", _OFFLOAD),
    "fallback-recompute-taken-for-an-outcome": ("offloadable", "restore_path", "restoration_failure_outcome", _LOAD),
    "failed-request-taken-for-a-claims-outcome": (
        "offloadable", "load_failure_policy", "restoration_failure_outcome", _LOAD
    ),
    "router-affinity-taken-for-placement": ("routing", "router_affinity", "accepted_claim_placement", _ROUTER),
    "router-score-taken-for-reuse": ("routing", "router_affinity", "reuse_attribution", _ROUTER),
    "hit-count-taken-for-reuse-attribution": ("routing", "lookup_hit", "reuse_attribution", _LOOKUP),
    "hit-taken-for-materialization": ("hard_protected", "lookup_hit", "materialization_predicate", _LOOKUP),
    "no-evict-scheduling-taken-for-protection": (
        "hard_protected", "scheduler_reservation", "victim_exclusion", _NO_EVICT
    ),
    "no-evict-scheduling-taken-for-refusal": (
        "hard_protected", "scheduler_reservation", "active_infeasibility_outcome", _NO_EVICT
    ),
    "session-tag-taken-for-a-claim": ("hard_protected", "session_tag", "accepted_claim_identity", _TAG),
    "cache-key-taken-for-a-claim": ("best_effort", "cache_key", "accepted_claim_identity", _KEY),
    "memory-limit-taken-for-protection": ("hard_protected", "memory_limit", "victim_exclusion", _LIMIT),
    "no-admit-taken-for-protection": ("hard_protected", "write_filter", "victim_exclusion", _STORE),
    "recency-taken-for-priority": ("soft_priority", "eviction_order", "claim_scoped_priority_influence", _EVICT),
    "recency-taken-for-protection": ("hard_protected", "eviction_order", "victim_exclusion", _EVICT),
    "reuse-callback-taken-for-demotion": ("demotable", "reuse_callback", "demotion_before_loss", _EVICT),
    "victim-guard-taken-for-refusal": ("hard_protected", "victim_guard", "active_infeasibility_outcome", _EVICT),
}  # fmt: skip


def _mistake(name: str) -> Case:
    mode, mechanism, obligation, anchor = _MISTAKES[name]
    piece = evidence(obligation, "meets", mechanism, anchor)
    return Case(name, Label.REJECTED, NATURE[Mechanism(mechanism)], row(mode, mechanism, piece))


def cases() -> list[Case]:
    """Every wrong mapping, and right ones that were only read."""
    only_read = "code is not an outcome"
    everything = [
        evidence(obligation, "meets", "claim_manager", _NAME)
        for obligation in (
            "accepted_claim_identity",
            "materialization_predicate",
            "cache_identity_and_token_map",
            "ordered_lifecycle_events",
            "claim_scoped_outcome",
            "victim_exclusion",
            "active_infeasibility_outcome",
            "blocking_claim_attribution",
        )
    ]
    return [
        *map(_mistake, _MISTAKES),
        Case(
            "priority-admitted-to-lack-it-is-still-no-part-of-a-hard-claim",
            Label.REJECTED,
            NATURE[Mechanism.RETENTION_PRIORITY],
            row(
                "hard_protected",
                "retention_priority",
                evidence("victim_exclusion", "lacks", "retention_priority", _EVICT),
            ),
        ),
        Case(
            "a-name-taken-for-everything",
            Label.APPROXIMATION,
            only_read,
            row("hard_protected", "claim_manager", *everything),
        ),
        Case(
            "victim-exclusion-read-and-not-executed",
            Label.APPROXIMATION,
            only_read,
            row("hard_protected", "reference_count", evidence("victim_exclusion", "meets", "reference_count", _LOCK)),
        ),
        Case(
            "write-filter-read-and-not-executed",
            Label.APPROXIMATION,
            only_read,
            row("write_no_admit", "write_filter", evidence("no_admit_separation", "meets", "write_filter", _STORE)),
        ),
        Case(
            "one-mechanism-declared-another-shown",
            Label.UNKNOWN,
            "no verified evidence shows victim_guard",
            row("hard_protected", "victim_guard", evidence("victim_exclusion", "lacks", "retention_priority", _EVICT)),
        ),
        Case(
            "honest-approximation",
            Label.APPROXIMATION,
            "accepted_claim_identity: lacking",
            row(
                "hard_protected",
                "pin_call",
                evidence("accepted_claim_identity", "lacks", "pin_call", _PIN),
                declared="approximation",
            ),
        ),
    ]
