"""L3: an accepted hard claim makes infeasibility explicit. C1: soft priority is not a lowering of it."""

from functools import partial
from typing import Any, Final

from residentkv.conformance.finding import Finding, at_least, equals, holds, well_formed
from residentkv.conformance.litmus.base import Litmus, ManualClock, OtherRun, Scenario, TamperedTrace
from residentkv.conformance.observation import Observation
from residentkv.conformance.tamper import (
    drop,
    edit,
    edit_claim_events,
    emit_nothing,
    insert_behind,
    move_behind,
)
from residentkv.conformance.workload import ACTIVE_BLOCKS, RESIDENT_BLOCKS, USABLE_BLOCKS, claim, extended, text
from residentkv.contract.claim import ClaimState, ProtectionMode
from residentkv.contract.events import Event
from residentkv.contract.protocol import Capability, ConformanceRuntime, FutureReuse

CANONICAL_NUMBERS: Final = {
    "usable_blocks": USABLE_BLOCKS,
    "active_live_blocks_required": ACTIVE_BLOCKS,
    "protected_resident_blocks": RESIDENT_BLOCKS,
    "resident_plus_active_blocks": RESIDENT_BLOCKS + ACTIVE_BLOCKS,
    "free_blocks_before_allocate": USABLE_BLOCKS - RESIDENT_BLOCKS,
    "capacity_shortfall_blocks": RESIDENT_BLOCKS + ACTIVE_BLOCKS - USABLE_BLOCKS,
    "feasibility": "infeasible_preserve_resident_and_active",
    "arbiter_action": "refuse_active",
}


def _play(mode: ProtectionMode, runtime: ConformanceRuntime, clock: ManualClock) -> None:
    del clock
    resident, bystander = text("resident", RESIDENT_BLOCKS), text("bystander", 1)
    runtime.submit(claim("resident", resident, mode))
    runtime.submit(claim("bystander", bystander, ProtectionMode.BEST_EFFORT))
    runtime.serve("seed", resident, FutureReuse.ADMIT)
    runtime.serve("seed-bystander", bystander, FutureReuse.ADMIT)
    runtime.serve("active", text("active", ACTIVE_BLOCKS), FutureReuse.ADMIT)
    runtime.serve("reuse", extended(resident), FutureReuse.ADMIT)


def judge_hard(seen: Observation) -> list[Finding]:
    """The active request was refused with the claim and the numbers named, and every resident block is still there."""
    active, life = seen.request("active"), seen.claims.get("resident")
    return [
        well_formed(seen),
        equals("protection_mode", "hard_protected", None if life is None else life.mode),
        equals("materialized_claims", ["resident", "bystander"], seen.claims_in(ClaimState.MATERIALIZED)),
        equals("active_outcome", "refused", active.outcome),
        equals("numbers", CANONICAL_NUMBERS, {name: active.number(name) for name in CANONICAL_NUMBERS}),
        equals("blocking_claim_ids", ["resident"], active.number("blocking_claim_ids")),
        equals("sufficient_claim_ids", ["resident"], active.number("sufficient_claim_ids")),
        equals("preserved_for", ["active"], [] if life is None else life.preserved_for),
        equals("resident_victims", 0, None if life is None else len(life.evictions)),
        equals("harmed_claims", [], seen.claims_in(ClaimState.HARMED)),
        equals("blocks_reused_later", RESIDENT_BLOCKS, seen.request("reuse").number("reused_blocks")),
    ]


def judge_soft(seen: Observation) -> list[Finding]:
    """A soft claim is reported as soft, its loss as harm, and its trace does not pass for a hard claim's."""
    life = seen.claims.get("resident")
    hard = {finding.name for finding in judge_hard(seen) if not finding.holds}
    return [
        well_formed(seen),
        equals("protection_mode", "soft_priority", None if life is None else life.mode),
        equals("active_outcome", "admitted", seen.request("active").outcome),
        at_least(
            "resident_victims",
            RESIDENT_BLOCKS + ACTIVE_BLOCKS - USABLE_BLOCKS,
            seen.resident_victims("resident", "active"),
        ),
        holds("resident_harmed", when="resident" in seen.claims_in(ClaimState.HARMED)),
        holds("fails_as_hard_claim", when={"active_outcome", "resident_victims"} <= hard),
    ]


def _eviction_of(block: Event) -> dict[str, Any]:
    return {
        "request_id": "active",
        "physical_block_id": block["physical_block_id"],
        "logical_block_position": block["logical_block_position"],
        "is_protected_resident": False,
        "victim_reason": "unclaimed_lru",
    }


_BOTH: Final = frozenset({Capability.HARD_CLAIMS, Capability.SOFT_CLAIMS, Capability.BEST_EFFORT_CLAIMS})
_HARD_RUN: Final = Scenario(partial(_play, ProtectionMode.HARD_PROTECTED), _BOTH - {Capability.SOFT_CLAIMS})
_SOFT_RUN: Final = Scenario(partial(_play, ProtectionMode.SOFT_PRIORITY), _BOTH - {Capability.HARD_CLAIMS})
_REFUSED: Final = "active_request_refused"

L3: Final = Litmus(
    id="L3",
    statement="an accepted hard claim makes infeasibility explicit: refused, attributed, no resident victim",
    scenario=_HARD_RUN,
    judge=judge_hard,
    controls=(
        OtherRun("only a soft priority", "active_outcome", _SOFT_RUN),
        TamperedTrace("refusal not reported", "active_outcome", drop(_REFUSED)),
        TamperedTrace("nobody named", "blocking_claim_ids", edit(_REFUSED, {"blocking_claim_ids": []})),
        TamperedTrace(
            "bystander named", "blocking_claim_ids", edit(_REFUSED, {"blocking_claim_ids": ["resident", "bystander"]})
        ),
        TamperedTrace("no shortfall told", "numbers", edit(_REFUSED, {"capacity_shortfall_blocks": 0})),
        TamperedTrace(
            "claimed block evicted",
            "resident_victims",
            insert_behind(_REFUSED, "allocation_victim_selected", "resident_block_materialized", _eviction_of),
        ),
        TamperedTrace("claim named after the fact", "well_formed", move_behind("resident_claim_accepted", _REFUSED)),
        TamperedTrace("preservation not reported", "preserved_for", drop("resident_claim_preserved")),
        TamperedTrace("nothing emitted", "active_outcome", emit_nothing()),
    ),
)

C1: Final = Litmus(
    id="C1",
    statement="soft priority is not a lowering of a hard claim",
    scenario=_SOFT_RUN,
    judge=judge_soft,
    controls=(
        OtherRun("a hard claim", "fails_as_hard_claim", _HARD_RUN),
        TamperedTrace(
            "soft priority called hard", "protection_mode", edit_claim_events({"protection_mode": "hard_protected"})
        ),
        TamperedTrace("harm not reported", "resident_harmed", drop("resident_claim_harmed")),
        TamperedTrace("losses not reported", "resident_victims", drop("allocation_victim_selected")),
        TamperedTrace("nothing emitted", "active_outcome", emit_nothing()),
    ),
)
