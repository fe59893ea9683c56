"""L2: write no-admit is separate from protection."""

from functools import partial
from typing import Final

from residentkv.conformance.finding import Finding, at_least, equals, well_formed
from residentkv.conformance.litmus.base import Litmus, ManualClock, OtherRun, Scenario, TamperedTrace
from residentkv.conformance.observation import Observation
from residentkv.conformance.tamper import drop, emit_nothing
from residentkv.conformance.workload import ACTIVE_BLOCKS, RESIDENT_BLOCKS, USABLE_BLOCKS, claim, extended, text
from residentkv.contract.claim import ClaimState, ProtectionMode
from residentkv.contract.protocol import Capability, ConformanceRuntime, FutureReuse


def _play(future_reuse: FutureReuse, runtime: ConformanceRuntime, clock: ManualClock) -> None:
    del clock
    resident, active = text("resident", RESIDENT_BLOCKS), text("active", ACTIVE_BLOCKS)
    runtime.submit(claim("resident", resident, ProtectionMode.BEST_EFFORT))
    runtime.serve("seed", resident, FutureReuse.ADMIT)
    runtime.serve("active", active, future_reuse)
    runtime.serve("again", extended(active), FutureReuse.ADMIT)


def judge(seen: Observation) -> list[Finding]:
    """The active request ran, left nothing to reuse, and still cost the resident its blocks."""
    active = seen.request("active")
    return [
        well_formed(seen),
        equals("active_outcome", "admitted", active.outcome),
        equals("future_reuse", "denied", active.future_reuse),
        equals("blocks_reused_later", 0, seen.request("again").number("reused_blocks")),
        at_least(
            "resident_victims",
            RESIDENT_BLOCKS + ACTIVE_BLOCKS - USABLE_BLOCKS,
            seen.resident_victims("resident", "active"),
        ),
        equals("harmed_claims", ["resident"], seen.claims_in(ClaimState.HARMED)),
    ]


_NEEDS: Final = frozenset({Capability.BEST_EFFORT_CLAIMS, Capability.WRITE_NO_ADMIT})

L2: Final = Litmus(
    id="L2",
    statement="write no-admit is separate: served, not reusable, residents still lost",
    scenario=Scenario(partial(_play, FutureReuse.DENY), _NEEDS),
    judge=judge,
    controls=(
        OtherRun("future reuse admitted", "blocks_reused_later", Scenario(partial(_play, FutureReuse.ADMIT), _NEEDS)),
        TamperedTrace("denial not reported", "future_reuse", drop("future_reuse_denied")),
        TamperedTrace("losses not reported", "resident_victims", drop("allocation_victim_selected")),
        TamperedTrace("harm not reported", "harmed_claims", drop("resident_claim_harmed")),
        TamperedTrace("claim never accepted", "well_formed", drop("resident_claim_accepted")),
        TamperedTrace("nothing emitted", "active_outcome", emit_nothing()),
    ),
)
