"""The failure outcome verdict: a failed load ends the waiting request in the claim's name, on both sides."""

from collections.abc import Callable
from typing import Final

from residentkv.conformance.gates.connector_life import (
    SCHEDULER_FAILURES,
    TERMINATIONS,
    Attempt,
    ConnectorLife,
    is_from_tier,
    is_required,
    is_transfer,
    preparation_problems,
)
from residentkv.conformance.gates.evidence import Evidence, names_in

FAILURE_REQUIREMENTS: Final[tuple[str, ...]] = (
    "claim_metadata_before_lifecycle",
    "ambiguous_claim_cache_identity",
    "store_offload_to_cpu_path",
    "restore_required_before_failure",
    "controlled_cpu_to_gpu_load_failure",
    "claim_scoped_restoration_failed",
    "fail_closed_active_request_refused",
    "scheduler_side_restoration_failed",
    "scheduler_side_active_request_refused",
    "scheduler_side_claim_match",
    "scheduler_event_before_or_at_termination",
    "native_scheduler_admission_refusal_misclassified",
    "no_fallback_recompute_counted_as_satisfaction",
    "ordered_failure_semantics",
)
# None: the engine does not say; what it says must be an outcome, not a recompute.
_OUTCOME_TYPES: Final = (None, "refusal", "demotion", "expiry", "harm", "release")
_SATISFIED: Final = ("resident_claim_restored", "resident_claim_reuse_after_restore", "resident_claim_materialized")


def failure_problems(life: ConnectorLife) -> set[str]:
    """What the failure outcome verdict misses. Every load that failed must end properly, not only one of them."""
    problems = preparation_problems(life)
    if "claim_metadata_ordering" in problems:
        problems = problems - {"claim_metadata_ordering"} | {"ordered_failure_semantics"}
    if _counts_recompute(life):
        problems.add("no_fallback_recompute_counted_as_satisfaction")
    failed = [attempt for attempt in life.attempts if _is_failed(attempt)]
    for attempt in failed or life.attempts[-1:] or [Attempt(None, None, None)]:
        problems |= _attempt_problems(life, attempt)
    return problems


def _is_failed(attempt: Attempt) -> bool:
    return attempt.transfer(success=False) is not None or any(
        event.name in ("offload_load_job_failed", "resident_claim_restoration_failed", *SCHEDULER_FAILURES)
        for event in attempt.events
    )


def _attempt_problems(life: ConnectorLife, attempt: Attempt) -> set[str]:
    problems = set()
    failed_copy = attempt.transfer(success=False)
    later = _first_by_name(attempt, failed_copy, life.claim_id)
    job_failed, outcome, refused = (later.get(name) for name in _CONNECTOR_SIDE)
    scheduler_failed, scheduler_refused = (later.get(name) for name in SCHEDULER_FAILURES)

    if not is_required(life, attempt):
        problems.add("restore_required_before_failure")
    if failed_copy is None or job_failed is None:
        problems.add("controlled_cpu_to_gpu_load_failure")
    if outcome is None:
        problems.add("claim_scoped_restoration_failed")
    if refused is None:
        problems.add("fail_closed_active_request_refused")
    if scheduler_failed is None or not scheduler_failed.is_true("scheduler_side_failure_outcome"):
        problems.add("scheduler_side_restoration_failed")
    if scheduler_refused is None or not scheduler_refused.is_true("scheduler_side_refusal"):
        problems.add("scheduler_side_active_request_refused")
    if not _match(life.claim_id, scheduler_failed, scheduler_refused):
        problems.add("scheduler_side_claim_match")
    if not _is_before_termination(life, attempt, scheduler_failed, scheduler_refused):
        problems.add("scheduler_event_before_or_at_termination")
    if _is_misclassified(scheduler_failed, scheduler_refused, refused):
        problems.add("native_scheduler_admission_refusal_misclassified")
    is_ordered = life.rises(job_failed, outcome, refused) and life.rises(scheduler_failed, scheduler_refused)
    if not is_ordered or not life.is_ordered:
        problems.add("ordered_failure_semantics")
    return problems


_CONNECTOR_SIDE: Final = (
    "offload_load_job_failed",
    "resident_claim_restoration_failed",
    "active_request_refused",
)


def _first_by_name(attempt: Attempt, failed_copy: Evidence | None, claim_id: str) -> dict[str, Evidence]:
    """The first event of each kind, behind the failed copy, that has what its kind must have."""
    first: dict[str, Evidence] = {}
    for event in attempt.after(failed_copy, *_QUALIFIES):
        if event.name not in first and _QUALIFIES[event.name](event, claim_id):
            first[event.name] = event
    return first


def _is_load_failure(event: Evidence, _claim_id: str) -> bool:
    return event.fields.get("is_store") in (None, False)


def _is_own_outcome(event: Evidence, claim_id: str) -> bool:
    return event.fields.get("outcome_claim_id") == claim_id


def _is_own_failure(event: Evidence, claim_id: str) -> bool:
    return _is_own_outcome(event, claim_id) and event.fields.get("claim_scoped_outcome_type") in _OUTCOME_TYPES


def _is_own_refusal(event: Evidence, claim_id: str) -> bool:
    return _is_own_outcome(event, claim_id) and claim_id in (names_in(event.fields.get("blocking_claim_ids")) or ())


# What makes an event of the connector count at all. The scheduler's events are compared afterwards, so that each way to
# fall short has a name of its own.
_QUALIFIES: Final[dict[str, Callable[[Evidence, str], bool]]] = {
    "offload_load_job_failed": _is_load_failure,
    "resident_claim_restoration_failed": _is_own_failure,
    "active_request_refused": _is_own_refusal,
    **dict.fromkeys(SCHEDULER_FAILURES, lambda *_: True),
}


def _match(claim_id: str, failed: Evidence | None, refused: Evidence | None) -> bool:
    return (
        failed is not None
        and refused is not None
        and _is_own_outcome(failed, claim_id)
        and _is_own_refusal(refused, claim_id)
        and failed.fields.get("request_id") == refused.fields.get("request_id")
    )


def _is_before_termination(life: ConnectorLife, attempt: Attempt, *scheduler_side: Evidence | None) -> bool:
    """Whether the request ended, and nothing of the scheduler's side came after that."""
    if None in scheduler_side:
        return False
    ended = next((event for event in attempt.events if event.name in TERMINATIONS), None)
    return ended is not None and all(life.rises(event, ended) for event in scheduler_side)


def _is_misclassified(failed: Evidence | None, scheduler_refused: Evidence | None, refused: Evidence | None) -> bool:
    """Whether a failed load is called an admission refusal; the scheduler's refusal must deny it."""
    flag = "native_scheduler_admission_refusal"
    if scheduler_refused is not None and scheduler_refused.fields.get(flag) is not False:
        return True
    return any(event is not None and event.fields.get(flag) not in (None, False) for event in (failed, refused))


def _counts_recompute(life: ConnectorLife) -> bool:
    """Whether the claim counts as satisfied again without a copy that succeeded since its last failure."""
    is_copied, has_failed = False, False
    for event in life.events:
        if is_transfer(event, "CPU", "GPU", success=True):
            is_copied = True
        elif is_transfer(event, "CPU", "GPU", success=False) or event.name == "offload_load_job_failed":
            is_copied, has_failed = False, True
        elif event.name == "resident_claim_accepted":
            is_copied, has_failed = False, False
        elif event.name in _SATISFIED:
            is_first = event.name == "resident_claim_materialized" and not has_failed
            if not is_first and not (is_copied and is_from_tier(event)):
                return True
    return False
