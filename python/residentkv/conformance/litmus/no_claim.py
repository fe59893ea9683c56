"""L1: no accepted claim, no claim harm."""

from typing import Any, Final

from residentkv.conformance.finding import Finding, at_least, equals, well_formed
from residentkv.conformance.litmus.base import Litmus, ManualClock, OtherRun, Scenario, TamperedTrace
from residentkv.conformance.observation import Observation
from residentkv.conformance.tamper import drop, emit_nothing, insert_behind
from residentkv.conformance.workload import ACTIVE_BLOCKS, RESIDENT_BLOCKS, USABLE_BLOCKS, text
from residentkv.contract.events import Event
from residentkv.contract.protocol import ConformanceRuntime, FutureReuse


def _play(runtime: ConformanceRuntime, clock: ManualClock) -> None:
    del clock
    runtime.serve("seed", text("resident", RESIDENT_BLOCKS), FutureReuse.ADMIT)
    runtime.serve("active", text("active", ACTIVE_BLOCKS), FutureReuse.ADMIT)


def judge(seen: Observation) -> list[Finding]:
    """Blocks were evicted for the active request, and nobody spoke of a claim."""
    active = seen.request("active")
    return [
        well_formed(seen),
        equals("active_outcome", "admitted", active.outcome),
        at_least("evicted_blocks", RESIDENT_BLOCKS + ACTIVE_BLOCKS - USABLE_BLOCKS, len(active.victims)),
        equals("claims_harmed", 0, seen.num_harms),
    ]


def _harm_of_nobody(victim: Event) -> dict[str, Any]:
    return {
        "request_id": victim["request_id"],
        "claim_id": "nobody",
        "prefix_id": "prefix",
        "reusable_object_id": "object",
        "request_token_map_id": "tokens",
        "cache_identity": "identity",
        "predicate_id": "predicate",
        "materialization_predicate": f"leading_prefix_at_least({RESIDENT_BLOCKS})",
        "lifecycle_generation": 1,
        "protection_mode": "hard_protected",
        "resident_blocks_required": RESIDENT_BLOCKS,
        "resident_blocks_materialized": RESIDENT_BLOCKS - 1,
        "leading_blocks_survived": RESIDENT_BLOCKS - 1,
        "predicate_materialized": False,
        "harm_cause": victim["victim_reason"],
        "predicate_before": True,
        "predicate_after": False,
    }


_VICTIM: Final = "allocation_victim_selected"

L1: Final = Litmus(
    id="L1",
    statement="no accepted claim, no claim harm",
    scenario=Scenario(_play, needs=frozenset()),
    judge=judge,
    controls=(
        OtherRun("no pressure", "evicted_blocks", Scenario(_play, frozenset(), RESIDENT_BLOCKS + ACTIVE_BLOCKS)),
        TamperedTrace(
            "harm without acceptance",
            "claims_harmed",
            insert_behind(_VICTIM, "resident_claim_harmed", _VICTIM, _harm_of_nobody),
        ),
        TamperedTrace("evictions not reported", "evicted_blocks", drop(_VICTIM)),
        TamperedTrace("nothing emitted", "active_outcome", emit_nothing()),
    ),
)
