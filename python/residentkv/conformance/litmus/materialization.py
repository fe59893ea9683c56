"""L6: blocks may survive while materialization fails: 59 of 60 are left, the first is gone."""

from functools import partial
from typing import Final

from residentkv.conformance.finding import Finding, equals, well_formed
from residentkv.conformance.litmus.base import Litmus, ManualClock, OtherRun, Scenario, TamperedTrace
from residentkv.conformance.observation import Observation
from residentkv.conformance.tamper import drop, edit, emit_nothing
from residentkv.conformance.workload import RESIDENT_BLOCKS, claim, text
from residentkv.contract.claim import ClaimState, ProtectionMode
from residentkv.contract.protocol import Capability, ConformanceRuntime, FutureReuse

_CAUSE: Final = "memory_fault"
_HARMED: Final = "resident_claim_harmed"
_HARM_FACTS: Final = {
    "harm_cause": _CAUSE,
    "predicate_before": True,
    "predicate_after": False,
    "predicate_materialized": False,
    "resident_blocks_required": RESIDENT_BLOCKS,
    "resident_blocks_materialized": RESIDENT_BLOCKS - 1,
    "leading_blocks_survived": 0,
}


def _play(bad_positions: tuple[int, ...], runtime: ConformanceRuntime, clock: ManualClock) -> None:
    del clock
    resident = text("resident", RESIDENT_BLOCKS)
    runtime.submit(claim("resident", resident, ProtectionMode.HARD_PROTECTED))
    runtime.serve("seed", resident, FutureReuse.ADMIT)
    for position in bad_positions:
        runtime.invalidate("resident", position, _CAUSE)


def judge(seen: Observation) -> list[Finding]:
    """The one claim was harmed by the declared cause, with survivors counted and the leading ones gone."""
    life = seen.claims.get("resident")
    harm = None if life is None else life.harm
    return [
        well_formed(seen),
        equals("protection_mode", "hard_protected", None if life is None else life.mode),
        equals("materialized_claims", ["resident"], seen.claims_in(ClaimState.MATERIALIZED)),
        equals("harmed_claims", ["resident"], seen.claims_in(ClaimState.HARMED)),
        equals("harm", _HARM_FACTS, {name: None if harm is None else harm[name] for name in _HARM_FACTS}),
    ]


_NEEDS: Final = frozenset({Capability.HARD_CLAIMS, Capability.INVALIDATION})

L6: Final = Litmus(
    id="L6",
    statement="block survival can fail materialization: 59 of 60 survive, none of them leading, harmed with the cause",
    scenario=Scenario(partial(_play, (0,)), _NEEDS),
    judge=judge,
    controls=(
        OtherRun("nothing invalidated", "harmed_claims", Scenario(partial(_play, ()), _NEEDS)),
        OtherRun("last block invalidated", "harm", Scenario(partial(_play, (RESIDENT_BLOCKS - 1,)), _NEEDS)),
        TamperedTrace("survivors taken for a prefix", "harm", edit(_HARMED, {"leading_blocks_survived": 59})),
        TamperedTrace("still called materialized", "harm", edit(_HARMED, {"predicate_materialized": True})),
        TamperedTrace("cause withheld", "harm", edit(_HARMED, {"harm_cause": None})),
        TamperedTrace("harm not reported", "harmed_claims", drop(_HARMED)),
        TamperedTrace("claim never accepted", "well_formed", drop("resident_claim_accepted")),
        TamperedTrace("nothing emitted", "materialized_claims", emit_nothing()),
    ),
)
