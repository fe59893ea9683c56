"""L4 and L5: a claim that gives way says so before its first block is lost, and is not harmed by the loss."""

from functools import partial
from typing import Any, Final

from residentkv.conformance.finding import Finding, Judge, at_least, equals, holds, well_formed
from residentkv.conformance.litmus.base import Litmus, ManualClock, OtherRun, Play, Scenario, TamperedTrace
from residentkv.conformance.observation import Observation
from residentkv.conformance.tamper import drop, emit_nothing, insert_behind, move_behind
from residentkv.conformance.workload import ACTIVE_BLOCKS, RESIDENT_BLOCKS, USABLE_BLOCKS, claim, text
from residentkv.contract.claim import ClaimSpec, ClaimState, Duration, ProtectionMode
from residentkv.contract.events import CLAIM_FIELDS, Event
from residentkv.contract.protocol import Capability, ConformanceRuntime, FutureReuse

_VICTIM: Final = "allocation_victim_selected"
_LIFETIME_NS: Final = 1_000
_RESIDENT: Final = text("resident", RESIDENT_BLOCKS)
_LOST_BLOCKS: Final = RESIDENT_BLOCKS + ACTIVE_BLOCKS - USABLE_BLOCKS


def _play(spec: ClaimSpec, end: Play, runtime: ConformanceRuntime, clock: ManualClock) -> None:
    runtime.submit(spec)
    runtime.serve("seed", _RESIDENT, FutureReuse.ADMIT)
    end(runtime, clock)
    runtime.serve("active", text("active", ACTIVE_BLOCKS), FutureReuse.ADMIT)


def _demote(runtime: ConformanceRuntime, clock: ManualClock) -> None:
    del clock
    runtime.demote("resident")


def _expire(runtime: ConformanceRuntime, clock: ManualClock) -> None:
    clock.advance(_LIFETIME_NS)
    runtime.expire_due()


def _expire_early(runtime: ConformanceRuntime, clock: ManualClock) -> None:
    clock.advance(_LIFETIME_NS - 1)
    runtime.expire_due()


def _judge(mode: ProtectionMode, ended: ClaimState, seen: Observation) -> list[Finding]:
    life = seen.claims.get("resident")
    end = None if life is None else life.reached(ended)
    evictions = [] if life is None else life.evictions
    return [
        well_formed(seen),
        equals("protection_mode", mode.value, None if life is None else life.mode),
        equals("materialized_claims", ["resident"], seen.claims_in(ClaimState.MATERIALIZED)),
        equals(f"{ended.value}_claims", ["resident"], seen.claims_in(ended)),
        equals("active_outcome", "admitted", seen.request("active").outcome),
        at_least("blocks_lost", _LOST_BLOCKS, len(evictions)),
        holds("end_precedes_loss", when=end is not None and all(end < eviction for eviction in evictions)),
        equals("losses_reported", len(evictions), 0 if life is None else life.losses_after_end),
        equals("harmed_claims", 0, seen.num_harms),
    ]


def _harm(materialized: Event) -> dict[str, Any]:
    return {
        **{name: materialized[name] for name in ("claim_id", *CLAIM_FIELDS)},
        "harm_cause": "evicted",
        "predicate_before": True,
        "predicate_after": False,
    }


def _litmus(
    litmus_id: str, spec: ClaimSpec, ended: ClaimState, end: Play, capability: Capability, *controls: OtherRun
) -> Litmus:
    """State that the claim of `spec`, brought to `ended` by `end`, keeps the order."""
    event = f"resident_claim_{ended.value}"
    judge: Judge = partial(_judge, spec.mode, ended)
    return Litmus(
        id=litmus_id,
        statement=f"a claim is {ended.value} before it loses a block, and the loss is no harm",
        scenario=Scenario(partial(_play, spec, end), frozenset({capability})),
        judge=judge,
        controls=(
            *controls,
            TamperedTrace("end after the loss", "end_precedes_loss", move_behind(event, _VICTIM)),
            TamperedTrace("end not reported", "end_precedes_loss", drop(event)),
            TamperedTrace(
                "loss called harm",
                "harmed_claims",
                insert_behind(_VICTIM, "resident_claim_harmed", "resident_claim_materialized", _harm),
            ),
            TamperedTrace("evictions not reported", "blocks_lost", drop(_VICTIM)),
            TamperedTrace("losses not attributed", "losses_reported", drop("resident_claim_block_lost_after_release")),
            TamperedTrace("nothing emitted", "active_outcome", emit_nothing()),
        ),
    )


_DEMOTABLE: Final = claim("resident", _RESIDENT, ProtectionMode.DEMOTABLE)
_EXPIRING: Final = claim("resident", _RESIDENT, ProtectionMode.EXPIRING, duration=Duration(nanoseconds=_LIFETIME_NS))
_UNPROTECTED: Final = claim("resident", _RESIDENT, ProtectionMode.BEST_EFFORT)


def _keep(runtime: ConformanceRuntime, clock: ManualClock) -> None:
    del runtime, clock


L4: Final = _litmus(
    "L4",
    _DEMOTABLE,
    ClaimState.DEMOTED,
    _demote,
    Capability.DEMOTABLE_CLAIMS,
    OtherRun(
        "lost without demotion",
        "harmed_claims",
        Scenario(partial(_play, _UNPROTECTED, _keep), frozenset({Capability.BEST_EFFORT_CLAIMS})),
    ),
)
L5: Final = _litmus(
    "L5",
    _EXPIRING,
    ClaimState.EXPIRED,
    _expire,
    Capability.EXPIRING_CLAIMS,
    OtherRun(
        "one nanosecond early",
        "expired_claims",
        Scenario(partial(_play, _EXPIRING, _expire_early), frozenset({Capability.EXPIRING_CLAIMS})),
    ),
)
