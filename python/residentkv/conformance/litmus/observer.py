"""L7: an outside observer reconstructs what happened from the trace alone."""

from typing import Final

from residentkv.conformance.finding import Finding, equals, well_formed
from residentkv.conformance.litmus.base import Litmus, ManualClock, Scenario, TamperedTrace
from residentkv.conformance.observation import Observation
from residentkv.conformance.tamper import drop, edit, emit_nothing, forget_order, move_behind
from residentkv.conformance.workload import ACTIVE_BLOCKS, claim, text
from residentkv.contract.claim import ProtectionMode
from residentkv.contract.protocol import Capability, ConformanceRuntime, FutureReuse

_USABLE_BLOCKS: Final = 100
_LARGE_BLOCKS: Final = 40
_SMALL_BLOCKS: Final = 20

# Ending "large" alone makes room, so it alone is sufficient although "small" is worth less and is tried first.
_TIMELINE: Final = [
    "large accepted",
    "small accepted",
    "huge rejected: capacity",
    "seed-large admitted",
    "large materialized",
    "seed-small admitted",
    "small materialized",
    "active refused, blocked by large, small",
    "large preserved",
    "small preserved",
    "large released",
    "active-again admitted",
]


def _play(runtime: ConformanceRuntime, clock: ManualClock) -> None:
    del clock
    large, small, active = text("resident", _LARGE_BLOCKS), text("other", _SMALL_BLOCKS), text("active", ACTIVE_BLOCKS)
    hard = ProtectionMode.HARD_PROTECTED
    runtime.submit(claim("large", large, hard, predicted_value=5.0))
    runtime.submit(claim("small", small, hard, predicted_value=1.0))
    runtime.submit(claim("huge", text("huge", _USABLE_BLOCKS), hard))
    runtime.serve("seed-large", large, FutureReuse.ADMIT)
    runtime.serve("seed-small", small, FutureReuse.ADMIT)
    runtime.serve("active", active, FutureReuse.ADMIT)
    runtime.release("large")
    runtime.serve("active-again", active, FutureReuse.ADMIT)


def judge(seen: Observation) -> list[Finding]:
    """Acceptance, materialization, conflict, blocking claims and outcome are all in the trace, in order."""
    active = seen.request("active")
    return [
        well_formed(seen),
        equals("timeline", _TIMELINE, seen.timeline),
        equals("sufficient_claim_ids", ["large"], active.number("sufficient_claim_ids")),
        equals("protected_resident_claims", ["large", "small"], active.number("protected_resident_claims")),
        equals(
            "blocks_lost_after_release",
            {"large": _LARGE_BLOCKS + _SMALL_BLOCKS + ACTIVE_BLOCKS - _USABLE_BLOCKS, "small": 0},
            {name: life.losses_after_end for name, life in seen.claims.items() if name in ("large", "small")},
        ),
    ]


_REFUSED: Final = "active_request_refused"

L7: Final = Litmus(
    id="L7",
    statement="an outside observer reconstructs acceptance, materialization, conflict, blocking claims and outcome",
    scenario=Scenario(_play, frozenset({Capability.HARD_CLAIMS}), _USABLE_BLOCKS),
    judge=judge,
    controls=(
        TamperedTrace("acceptance missing", "timeline", drop("resident_claim_accepted")),
        TamperedTrace("materialization missing", "timeline", drop("resident_claim_materialized")),
        TamperedTrace("conflict missing", "timeline", drop(_REFUSED)),
        TamperedTrace("blocking claims missing", "timeline", edit(_REFUSED, {"blocking_claim_ids": []})),
        TamperedTrace(
            "blocking claims out of order", "timeline", edit(_REFUSED, {"blocking_claim_ids": ["small", "large"]})
        ),
        TamperedTrace("outcome missing", "timeline", drop("active_request_admitted")),
        TamperedTrace("order missing", "well_formed", forget_order()),
        TamperedTrace("claims named after the fact", "well_formed", move_behind("resident_claim_accepted", _REFUSED)),
        TamperedTrace(
            "identity changed", "well_formed", edit("resident_claim_preserved", {"reusable_object_id": "other"})
        ),
        TamperedTrace("nothing emitted", "timeline", emit_nothing()),
    ),
)
