"""The offload life cycle gate: whether a trace shows a claim offloaded, restored before reuse, and failing honestly.

A full pass needs, for one life of one claim and in this order: accepted, materialized, offloaded to the host, restore
required, restored from that tier, a reuse that satisfies the predicate; then a second offload generation that is
offloaded, required, and fails with the outcome that the failure names. See contract.md section 7.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from residentkv.conformance.gates.evidence import ClaimEvidence, Evidence, Identity, collect, in_order, order_key
from residentkv.conformance.gates.offload_walk import ROLES, LifeWalk, Requirement
from residentkv.conformance.gates.trace_lines import read_events
from residentkv.contract.events import EVENT_NAMES

REQUIREMENTS: Final[tuple[str, ...]] = tuple(requirement.value for requirement in Requirement)

_KEPT: Final[dict[str, tuple[str, ...]]] = {
    "resident_claim_accepted": (),
    "resident_claim_materialized": (),
    "resident_claim_offloaded": (),
    "resident_claim_restore_required": (),
    "resident_claim_restored": (),
    "resident_claim_reuse_after_restore": (),
    "resident_claim_restoration_failed": ("outcome_claim_id",),
    "resident_claim_demoted": (),
    "resident_claim_expired": (),
    "resident_claim_released": (),
    "resident_claim_harmed": (),
    "active_request_refused": ("outcome_claim_id",),
}
# A claim is named when it is submitted; what it is, is fixed when it is accepted.
_BEFORE_ACCEPTANCE: Final = ("resident_claim_submitted", "resident_claim_rejected")
_SEEN: Final = frozenset(
    name
    for name in EVENT_NAMES
    if name.startswith("resident_") and name not in _KEPT and name not in _BEFORE_ACCEPTANCE
)

_REQUIREMENT_OF: Final[dict[str, Requirement]] = {
    "predicate_id": Requirement.STABLE_CLAIM,
    "materialization_predicate": Requirement.STABLE_CLAIM,
    "prefix_id": Requirement.REUSABLE_OBJECT,
    "reusable_object_id": Requirement.REUSABLE_OBJECT,
    "cache_identity": Requirement.FIXED_IDENTITY,
    "request_token_map_id": Requirement.FIXED_IDENTITY,
}
_OPTIONAL: Final = frozenset({"prefix_id"})  # may be absent; may not change


@dataclass(frozen=True, slots=True)
class OffloadVerdict:
    """What the gate found.

    Parameters
    ----------
    claim_id : the claim judged; without one named, the claim that passes or comes closest. None if the trace has none.
    missing : names of REQUIREMENTS, in that order; empty exactly when `passed`.
    ordered_evidence : for each role of ROLES the event that plays it (line, event, order), or None.
    """

    passed: bool
    claim_id: str | None
    missing: tuple[str, ...]
    ordered_evidence: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values, under the names of the wire format."""
        return {
            "pass": self.passed,
            "claim_id": self.claim_id,
            "missing": list(self.missing),
            "ordered_evidence": self.ordered_evidence,
        }


def judge(path: str | Path, *, claim_id: str | None = None) -> OffloadVerdict:
    """Judge one claim of a trace, or every claim: then it passes if one does. O(events log claim events).

    Raises
    ------
    UnreadableTrace : the file is no trace (`read_events`).
    """
    claims = collect(read_events(path), _KEPT, _SEEN)
    failures = _Failures(claims)
    judged = claims.values() if claim_id is None else [claims[claim_id]] if claim_id in claims else []
    verdicts = [verdict for claim in judged for verdict in _verdicts(claim, failures)]
    nothing = OffloadVerdict(
        passed=False, claim_id=claim_id, missing=REQUIREMENTS, ordered_evidence=dict.fromkeys(ROLES)
    )
    return min(verdicts, key=lambda verdict: len(verdict.missing), default=nothing)


class _Failures:
    """When claims' restorations failed for a request: only those may stand beside a claim in its refusal."""

    def __init__(self, claims: dict[str, ClaimEvidence]) -> None:
        self._failed = {
            (claim_id, request_id): order_key(event.fields)
            for claim_id, claim in claims.items()
            for event in claim.events
            if event.name == "resident_claim_restoration_failed"
            and event.claim_id == claim_id == event.fields.get("outcome_claim_id")
            and type(request_id := event.fields.get("request_id")) is str
        }

    def __call__(self, claim_id: str, refusal: Evidence) -> bool:
        """Whether a restoration of the claim failed for the request that is refused, and before that."""
        request_id = refusal.fields.get("request_id")
        failed = self._failed.get((claim_id, request_id)) if type(request_id) is str else None
        refused = order_key(refusal.fields)
        return failed is not None and refused is not None and failed[0] == refused[0] and failed[1] < refused[1]


def _verdicts(claim: ClaimEvidence, failures: _Failures) -> Iterator[OffloadVerdict]:
    """One verdict for each life of the claim."""
    ordered = in_order(claim.events)
    lives, is_interleaved = _lives(ordered.events)
    for generation, events in lives:
        walk = LifeWalk(claim.claim_id, failures)
        for event in events:
            walk.take(event)
        missing = walk.missing() | set(_identity_problems(claim, generation, events))
        if is_interleaved:
            missing.add(Requirement.STABLE_CLAIM)
        if not ordered.is_sound:
            missing.add(Requirement.ORDER)
        if _is_late(claim, generation, walk.evidence.get("accepted")):
            missing.add(Requirement.ACCEPTED)
        names = tuple(requirement.value for requirement in Requirement if requirement in missing)
        shown = {role: event and event.to_json() for role in ROLES for event in [walk.evidence.get(role)]}
        yield OffloadVerdict(passed=not names, claim_id=claim.claim_id, missing=names, ordered_evidence=shown)


def _lives(events: tuple[Evidence, ...]) -> tuple[list[tuple[int | None, list[Evidence]]], bool]:
    """Part events by `lifecycle_generation`, and say whether two lives overlap or their numbers fall.

    An event without one belongs to the life it falls into; those before the first numbered one to that.
    """
    lives: list[tuple[int | None, list[Evidence]]] = []
    is_interleaved = False
    for event in events:
        generation = event.generation
        current = lives[-1][0] if lives else None
        if not lives:
            lives.append((generation, [event]))
        elif generation is None or generation == current:
            lives[-1][1].append(event)
        elif current is None:
            lives[-1] = (generation, [*lives[-1][1], event])
        else:
            is_interleaved |= generation < current
            lives.append((generation, [event]))
    return lives, is_interleaved


def _identity_problems(claim: ClaimEvidence, generation: int | None, events: list[Evidence]) -> Iterator[Requirement]:
    """What the events of one life leave open, or contradict, about the object the claim names."""
    merged = Identity()
    for key in {generation, None}:
        part = claim.identities.get(key, Identity())
        merged.conflicts |= part.conflicts
        merged.see(part.values)
    own = [event for event in events if event.name.startswith("resident_") and event.claim_id == claim.claim_id]
    for name, requirement in _REQUIREMENT_OF.items():
        is_absent = name not in _OPTIONAL and not (own and all(event.fields.get(name) for event in own))
        if is_absent or name in merged.conflicts:
            yield requirement


def _is_late(claim: ClaimEvidence, generation: int | None, accepted: Evidence | None) -> bool:
    """Whether an event about the claim, of a kind the gate does not judge, comes before the acceptance."""
    key = None if accepted is None else order_key(accepted.fields)
    if key is None:
        return False
    earliest = (claim.earliest.get(of, {}).get(key[0]) for of in (generation, None))
    return any(first is not None and first <= key[1] for first in earliest)
