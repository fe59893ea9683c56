"""The gates that read a trace as evidence, and what each can show. A closed registry: nothing else judges.

A gate carries an obligation by the names of the findings that would fail without it. One that passes shows all it
carries; one that fails shows that what the failing names carry is lacking.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from residentkv.conformance.finding import Finding, Judge, equals, holds
from residentkv.conformance.gates import connector, offload
from residentkv.conformance.litmus import ALL
from residentkv.conformance.observation import Observation, observe
from residentkv.conformance.sweep import SweepPolicy, expected_row, observed_row
from residentkv.conformance.trace import read_trace
from residentkv.conformance.workload import USABLE_BLOCKS
from residentkv.contract.claim import ClaimState
from residentkv.lowering.vocabulary import Mode, Obligation

MAX_TRACE_BYTES: Final = 256 << 20
WELL_FORMED: Final = "well_formed"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """`failing` names what is missing; a gate passes if nothing is."""

    failing: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing is missing."""
        return not self.failing


@dataclass(frozen=True, slots=True)
class Gate:
    """One judge of traces.

    Parameters
    ----------
    modes : what its trace is about; evidence for another mode is none.
    carries : obligations, each with the findings that fail without it.
    judge : reads a trace file, for one claim or for the one it chooses.
    """

    modes: frozenset[Mode]
    carries: Mapping[Obligation, frozenset[str]]
    judge: Callable[[Path, str | None], GateVerdict]


# Every reader of a trace checks these: the fields are there, fixed and complete, and the order is that of the contract.
_COMMON_FINDINGS: Final = {
    Obligation.ACCEPTED_CLAIM_IDENTITY: frozenset({"materialized_claims", "protection_mode"}),
    Obligation.MATERIALIZATION_PREDICATE: frozenset({"materialized_claims"}),
    Obligation.CACHE_IDENTITY_AND_TOKEN_MAP: frozenset({WELL_FORMED}),
    Obligation.ORDERED_LIFECYCLE_EVENTS: frozenset({WELL_FORMED}),
}


def _litmus(litmus_id: str) -> Judge:
    return next(litmus.judge for litmus in ALL if litmus.id == litmus_id)


def _trace_gate(judge: Judge, mode: Mode, own: Mapping[Obligation, frozenset[str]]) -> Gate:
    def judged(path: Path, claim: str | None) -> GateVerdict:
        del claim  # these scenarios name their claims themselves
        findings = judge(observe(read_trace(path)))
        return GateVerdict(tuple(finding.name for finding in findings if not finding.holds))

    return Gate(frozenset({mode}), {**_COMMON_FINDINGS, **own}, judged)


def _judge_influence(seen: Observation) -> list[Finding]:
    """What C1 asks, and: the unclaimed bystander, used last, is evicted before every block of the soft claim."""
    soft, bystander = seen.claims.get("resident"), seen.claims.get("bystander")
    lost = [] if bystander is None else bystander.evictions
    kept_longer = bool(lost) and soft is not None and all(max(lost) < eviction for eviction in soft.evictions)
    return [*_litmus("C1")(seen), holds("soft_claim_outlives_bystander", when=kept_longer)]


def _judge_harm(seen: Observation) -> list[Finding]:
    """A best-effort claim that loses blocks to a request is harmed, and the harm says by whom."""
    life = seen.claims.get("resident")
    harm = None if life is None else life.harm
    return [
        finding for finding in _litmus("L2")(seen) if finding.name not in ("future_reuse", "blocks_reused_later")
    ] + [
        equals("protection_mode", "best_effort", None if life is None else life.mode),
        equals("materialized_claims", ["resident"], seen.claims_in(ClaimState.MATERIALIZED)),
        equals("harmed_by", "active", None if harm is None else harm["request_id"]),
    ]


def _judge_no_admit(seen: Observation) -> list[Finding]:
    life = seen.claims.get("resident")
    return [
        *_litmus("L2")(seen),
        equals("protection_mode", "best_effort", None if life is None else life.mode),
        equals("materialized_claims", ["resident"], seen.claims_in(ClaimState.MATERIALIZED)),
    ]


def _judge_canonical_case(seen: Observation) -> list[Finding]:
    """60 residents, an active 70, 80 usable: what a hard claim's row of the capacity sweep must be."""
    want = expected_row(USABLE_BLOCKS, SweepPolicy.HARD_RESIDENT_EXCLUDE).as_fields()
    found = observed_row(USABLE_BLOCKS, SweepPolicy.HARD_RESIDENT_EXCLUDE, seen).as_fields()
    compared = [equals(name, want[name], found[name]) for name in want if name not in ("usable", "policy")]
    return [equals(WELL_FORMED, [], seen.problems), *compared]


def _offload(path: Path, claim: str | None) -> GateVerdict:
    return GateVerdict(offload.judge(path, claim_id=claim).missing)


def _observation(path: Path, claim: str | None) -> GateVerdict:
    return GateVerdict(connector.judge(path, claim_id=claim).observation.missing)


def _failure_outcome(path: Path, claim: str | None) -> GateVerdict:
    """The failure, and with several claims around, that nobody else is named for it."""
    verdict = connector.judge(path, claim_id=claim)
    attribution = verdict.attribution.missing if verdict.controls["several_claims"] else ()
    return GateVerdict((*verdict.failure_outcome.missing, *attribution))


_OFFLOAD_FINDINGS: Final = {
    Obligation.ACCEPTED_CLAIM_IDENTITY: frozenset({"pre_registered_accepted_claim"}),
    Obligation.MATERIALIZATION_PREDICATE: frozenset(
        {"stable_claim_id_and_fixed_materialization_predicate", "materialization_predicate"}
    ),
    Obligation.CACHE_IDENTITY_AND_TOKEN_MAP: frozenset(
        {"reusable_object_id", "fixed_cache_identity_and_deterministic_request_token_map"}
    ),
    Obligation.ORDERED_LIFECYCLE_EVENTS: frozenset({"ordered_lifecycle_events"}),
    Obligation.CLAIM_SCOPED_OUTCOME: frozenset({"restoration_failure_outcome"}),
    Obligation.OFFLOAD_RESTORABILITY: frozenset({"offload_restorability"}),
    Obligation.RESTORATION_FAILURE_OUTCOME: frozenset({"restoration_failure_outcome"}),
}
_OFFLOADABLE: Final = frozenset({Mode.OFFLOADABLE})

_SCOPED: Final = Obligation.CLAIM_SCOPED_OUTCOME
_HARMED: Final = frozenset({"harmed_claims"})

GATES: Final[Mapping[str, Gate]] = {
    "L3": _trace_gate(
        _litmus("L3"),
        Mode.HARD_PROTECTED,
        {
            _SCOPED: frozenset({"preserved_for", "harmed_claims"}),
            Obligation.VICTIM_EXCLUSION: frozenset({"resident_victims", "blocks_reused_later"}),
            Obligation.ACTIVE_INFEASIBILITY_OUTCOME: frozenset({"active_outcome", "numbers"}),
            Obligation.BLOCKING_CLAIM_ATTRIBUTION: frozenset({"blocking_claim_ids", "sufficient_claim_ids"}),
        },
    ),
    "canonical_case": Gate(
        frozenset({Mode.HARD_PROTECTED}),
        {
            Obligation.VICTIM_EXCLUSION: frozenset({"resident_victims", "resident_preserved"}),
            Obligation.ACTIVE_INFEASIBILITY_OUTCOME: frozenset({"active_action"}),
        },
        _trace_gate(_judge_canonical_case, Mode.HARD_PROTECTED, {}).judge,
    ),
    "L4": _trace_gate(
        _litmus("L4"),
        Mode.DEMOTABLE,
        {
            _SCOPED: frozenset({"demoted_claims", "harmed_claims", "losses_reported"}),
            Obligation.DEMOTION_BEFORE_LOSS: frozenset({"demoted_claims", "end_precedes_loss"}),
        },
    ),
    "L5": _trace_gate(
        _litmus("L5"),
        Mode.EXPIRING,
        {
            _SCOPED: frozenset({"expired_claims", "harmed_claims", "losses_reported"}),
            Obligation.EXPIRY_BEFORE_LOSS: frozenset({"expired_claims", "end_precedes_loss"}),
        },
    ),
    "priority_influence": _trace_gate(
        _judge_influence,
        Mode.SOFT_PRIORITY,
        {
            _SCOPED: frozenset({"resident_harmed"}),
            Obligation.CLAIM_SCOPED_PRIORITY_INFLUENCE: frozenset({"soft_claim_outlives_bystander"}),
        },
    ),
    "attributed_harm": _trace_gate(_judge_harm, Mode.BEST_EFFORT, {_SCOPED: _HARMED | {"harmed_by"}}),
    "L2": _trace_gate(
        _judge_no_admit,
        Mode.WRITE_NO_ADMIT,
        {
            _SCOPED: _HARMED,
            Obligation.NO_ADMIT_SEPARATION: frozenset({"future_reuse", "blocks_reused_later", "resident_victims"}),
        },
    ),
    "offload": Gate(_OFFLOADABLE, _OFFLOAD_FINDINGS, _offload),
    # An engine's own events: they show what was stored, found and loaded back, not that a claim was accepted.
    "connector.observation": Gate(
        _OFFLOADABLE,
        {Obligation.OFFLOAD_RESTORABILITY: frozenset(connector.REQUIREMENTS["observation"])},
        _observation,
    ),
    "connector.failure_outcome": Gate(
        _OFFLOADABLE,
        {Obligation.RESTORATION_FAILURE_OUTCOME: frozenset(connector.REQUIREMENTS["failure_outcome"])},
        _failure_outcome,
    ),
}
