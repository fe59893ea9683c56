"""The connector gate: what a serving engine's own events prove about a claim's offload, restore and failure.

Three verdicts, each for one claim (contract.md section 7):

* observation: the claim was known, stored to the host, found there, and loaded back before it counted as restored;
* failure outcome: a load failed, and scheduler and connector both ended the waiting request in the claim's name;
* attribution: with several claims around, nobody but the target is named.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from residentkv.conformance.gates.connector_attribution import ClaimCrowd, attribution_problems
from residentkv.conformance.gates.connector_failure import FAILURE_REQUIREMENTS, failure_problems
from residentkv.conformance.gates.connector_life import (
    KEPT,
    OBSERVATION_REQUIREMENTS,
    OUTCOMES,
    SEEN,
    ConnectorLife,
    observation_problems,
)
from residentkv.conformance.gates.evidence import Evidence, collect, names_in
from residentkv.conformance.gates.trace_lines import read_events

ATTRIBUTION_REQUIREMENTS: Final[tuple[str, ...]] = (
    "target_claim_failure_outcome_gate",
    "scheduler_failure_events_name_only_target",
    "blocking_claim_ids_name_only_target",
    "non_target_failure_or_refusal_attribution",
    "non_target_restore_success_or_not_failed",
)
# By verdict.
REQUIREMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "observation": OBSERVATION_REQUIREMENTS,
    "failure_outcome": FAILURE_REQUIREMENTS,
    "attribution": ATTRIBUTION_REQUIREMENTS,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict: what is missing of its requirements, in their order; nothing is, exactly when it passed."""

    passed: bool
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The finding under the names of the wire format."""
        return {"pass": self.passed, "missing": list(self.missing)}


@dataclass(frozen=True, slots=True)
class ConnectorVerdict:
    """What the gate found.

    Parameters
    ----------
    controls : what was judged and what was noticed besides: the claim of each verdict, the claims in the trace, whether
        attribution counts (`several_claims`), what the metadata says about the object (`identity_fields`), injection
        flags and events without a claim.
    """

    observation: Finding
    failure_outcome: Finding
    attribution: Finding
    controls: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether every verdict passed; attribution counts where several claims are named, by trace or caller."""
        counted = [self.observation, self.failure_outcome]
        return all(finding.passed for finding in counted + [self.attribution] * self.controls["several_claims"])

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values, under the names of the wire format."""
        return {
            "observation": self.observation.to_json(),
            "failure_outcome": self.failure_outcome.to_json(),
            "attribution": self.attribution.to_json(),
            "controls": self.controls,
        }


def judge(path: str | Path, *, claim_id: str | None = None, others: Iterable[str] = ()) -> ConnectorVerdict:
    """Judge one claim of a trace. O(events log claim events), times the claims if none is named.

    Parameters
    ----------
    claim_id : the target; None judges every claim, and each verdict passes if one claim passes it.
    others : claims that must be left alone; by default every other claim that the trace names.

    Raises
    ------
    UnreadableTrace : the file is no trace (`read_events`).
    """
    watcher = _Watcher()
    claims = collect(watcher.watch(read_events(path)), KEPT, SEEN)
    lives = {name: ConnectorLife(claim) for name, claim in claims.items()}
    crowd = ClaimCrowd(lives, watcher.named, watcher.outcomes)
    asked = tuple(dict.fromkeys(other for other in others if other != claim_id))
    targets = [name for name in lives if name not in asked] if claim_id is None else [claim_id]

    def life_of(target: str) -> ConnectorLife:
        return lives.get(target) or ConnectorLife.unseen(target)

    observed = _best(targets, OBSERVATION_REQUIREMENTS, lambda target: observation_problems(life_of(target)))
    failed = _best(targets, FAILURE_REQUIREMENTS, lambda target: failure_problems(life_of(target)))
    # Only a claim whose failure outcome passes can pass attribution; without one the closest explains why not.
    failing = [target for target in targets if failed[1].passed and not failure_problems(life_of(target))]
    attributed = _best(
        failing or [name for name in [failed[0]] if name is not None],
        ATTRIBUTION_REQUIREMENTS,
        lambda target: attribution_problems(target, crowd, asked),
    )
    controls = {
        "claim_id": claim_id,
        "observation_claim_id": observed[0],
        "failure_outcome_claim_id": failed[0],
        "attribution_claim_id": attributed[0],
        "claims_in_trace": sorted(crowd.claim_ids),
        "others": list(asked),
        "several_claims": len(crowd.claim_ids) > 1 or bool(asked),
        "identity_fields": life_of(observed[0]).identity_fields if observed[0] is not None else [],
        "engine_events_without_claim": watcher.num_unclaimed,
        "injected_failure_recorded": any(life.has_injection_flag for life in lives.values()),
    }
    return ConnectorVerdict(observed[1], failed[1], attributed[1], controls)


class _Watcher:
    """Looks at every event of the pass: keeps what reports a failure or refusal, counts what names no claim at all."""

    def __init__(self) -> None:
        self.outcomes: list[Evidence] = []
        self.named: set[str] = set()  # in blocking lists
        self.num_unclaimed = 0

    def watch(self, events: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Pass the events on."""
        for line, event in events:
            name = event.get("event")
            if type(name) is str and name in KEPT:
                evidence = Evidence(line, name, event)
                # A refusal without an outcome claim is an ordinary one, for lack of room.
                if name in OUTCOMES and (name != "active_request_refused" or event.get("outcome_claim_id")):
                    self.outcomes.append(evidence)
                self.named.update(names_in(event.get("blocking_claim_ids")) or ())
                if evidence.claim_id is None and not evidence.fields.get("outcome_claim_id"):
                    self.num_unclaimed += 1
            yield line, event


def _best(
    targets: list[str], requirements: tuple[str, ...], problems_of: Callable[[str], set[str]]
) -> tuple[str | None, Finding]:
    """The claim that passes or comes closest, the first of equals, and its finding."""
    found: Mapping[str, set[str]] = {target: problems_of(target) for target in targets}
    best = min(found, key=lambda target: len(found[target]), default=None)
    problems = set(requirements) if best is None else found[best]
    missing = tuple(name for name in requirements if name in problems)
    return best, Finding(passed=not missing, missing=missing)
