"""The attribution verdict: with several claims in one trace, a failure names the target and nobody else."""

from collections.abc import Iterable, Mapping

from residentkv.conformance.gates.connector_failure import failure_problems
from residentkv.conformance.gates.connector_life import (
    OUTCOMES,
    SCHEDULER_FAILURES,
    ConnectorLife,
    is_transfer,
    observation_problems,
)
from residentkv.conformance.gates.evidence import Evidence, names_in


class ClaimCrowd:
    """All claims of a trace, those that only a blocking list names too, and what reports a failure or a refusal."""

    def __init__(self, lives: Mapping[str, ConnectorLife], named: Iterable[str], outcomes: Iterable[Evidence]) -> None:
        self.lives = lives
        self.claim_ids = lives.keys() | set(named)
        self.outcomes = tuple(outcomes)


def attribution_problems(target: str, crowd: ClaimCrowd, asked: tuple[str, ...]) -> set[str]:
    """What the attribution verdict misses for `target`; `asked` names the bystanders, none means all other claims.

    Without a bystander nothing shows that one would be spared. O(events that report a failure or a refusal).
    """
    others = set(asked) or crowd.claim_ids - {target}
    problems = set()
    if target not in crowd.lives or failure_problems(crowd.lives[target]):
        problems.add("target_claim_failure_outcome_gate")
    scheduler_side = [event for event in crowd.outcomes if event.name in SCHEDULER_FAILURES]
    if not scheduler_side or any(_named(event) != {target} for event in scheduler_side):
        problems.add("scheduler_failure_events_name_only_target")
    if not all(_blocks_only(event, target) for event in crowd.outcomes):
        problems.add("blocking_claim_ids_name_only_target")
    if any(_named(event) & others for event in crowd.outcomes):
        problems.add("non_target_failure_or_refusal_attribution")
    if not others or not others <= crowd.claim_ids or not all(_is_spared(crowd.lives.get(other)) for other in others):
        problems.add("non_target_restore_success_or_not_failed")
    return problems


def _named(event: Evidence) -> set[object]:
    """Whose failure or refusal it is: of an event that leaves both ids out, nobody's."""
    outcome = event.fields.get("outcome_claim_id")
    return {name for name in (event.claim_id, outcome if type(outcome) is str else None) if name is not None}


def _blocks_only(event: Evidence, target: str) -> bool:
    """Whether a blocking list names the target alone; only a refusal must have one, and must not leave it empty.

    A refusal without an outcome claim is an ordinary one, for lack of room: it may name whoever is in the way.
    """
    value = event.fields.get("blocking_claim_ids")
    if event.name == "active_request_refused" and event.fields.get("outcome_claim_id") is None:
        return True
    if not value:
        return not event.name.endswith("active_request_refused")
    return set(names_in(value) or ()) == {target}


def _is_spared(life: ConnectorLife | None) -> bool:
    if life is None:
        return True
    has_failed = any(
        event.name in ("offload_load_job_failed", "resident_claim_harmed", *OUTCOMES)
        or is_transfer(event, "CPU", "GPU", success=False)
        for event in life.events
    )
    return not has_failed or not observation_problems(life)
