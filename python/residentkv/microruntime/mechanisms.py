"""Fourteen ways to arbitrate between claimed and active KV, run on one scenario. Every number comes out of a run."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from residentkv.contract.arbiter import ArbiterPolicy
from residentkv.contract.claim import ClaimAction, ProtectionMode
from residentkv.contract.decision import Admitted, Refused
from residentkv.microruntime.demand import Attention, DemandPlan
from residentkv.microruntime.scenario import (
    ACTIVE,
    CHUNKS,
    OWNERS_RETURN,
    PREFIX_VALUES,
    USABLE_BLOCKS,
    Outcome,
    Run,
)

_HARD: Final = ProtectionMode.HARD_PROTECTED
_OFFLOAD: Final = ArbiterPolicy("offload_resident", (ClaimAction.OFFLOAD,))
_RELAX: Final = ArbiterPolicy("relax_resident_protection", (ClaimAction.DEMOTE,))


def native_eviction() -> Outcome:
    """Nobody protects anything: the oldest idle blocks make room."""
    return _at_once("native_eviction", Run(ProtectionMode.BEST_EFFORT))


def resident_victim_exclusion() -> Outcome:
    """Claimed blocks are never victims: the active request is refused, with the reason."""
    return _at_once("resident_victim_exclusion", Run(_HARD))


def write_no_admit_only() -> Outcome:
    """The active request may not leave its KV behind. That frees nothing while it runs."""
    return _at_once("write_no_admit_only", Run(ProtectionMode.BEST_EFFORT), future_reuse=False)


def relax_resident_protection() -> Outcome:
    """Claims that permit it are demoted before they lose a block."""
    return _at_once("relax_resident_protection", Run(ProtectionMode.DEMOTABLE, _RELAX))


def offload_resident() -> Outcome:
    """Claims that permit it move to the host and come back for their owners."""
    run = Run(ProtectionMode.OFFLOADABLE, _OFFLOAD, host_blocks=USABLE_BLOCKS)
    return _at_once("offload_resident", run)


def capacity_scaling() -> Outcome:
    """The pool grows to what the refusal says is needed."""
    run = Run(_HARD)
    run.owners_claim()
    refused = run.serve_active()
    needed = refused.record.resident_plus_active_blocks if isinstance(refused, Refused) else USABLE_BLOCKS
    outcome = _at_once("capacity_scaling", Run(_HARD, usable_blocks=needed))
    return replace(outcome, added_blocks=needed - USABLE_BLOCKS)


def route_elsewhere() -> Outcome:
    """A refused request runs on another worker, whose pool holds no claim."""
    run, elsewhere = Run(_HARD), Run(_HARD)
    run.owners_claim()
    refused = isinstance(run.serve_active(), Refused)
    answer = elsewhere.serve_active() if refused else None
    values = _return(run)
    served = isinstance(answer, Admitted)
    run.live += elsewhere.live
    outcome = run.outcome(
        "route_elsewhere", values, delay_ticks=0 if served else None, reuse=elsewhere.can_reuse_active()
    )
    return replace(outcome, routed_blocks=answer.new_blocks if isinstance(answer, Admitted) else 0)


def resident_reserve() -> Outcome:
    """One prefix is claimed before it is computed: a reservation keeps its room as a resident block would."""
    run = Run(_HARD)
    for prefix in PREFIX_VALUES:
        run.claim(prefix)
    first, second = PREFIX_VALUES
    run.seed(first)
    answer = run.serve_active()
    run.seed(second)  # the owner fills what was reserved for it
    delay = 0 if isinstance(answer, Admitted) else None
    return run.outcome("resident_reserve", _return(run), delay_ticks=delay, reuse=run.can_reuse_active())


def ordinary_chunking() -> Outcome:
    """The active request asks for one chunk at a time, as if that bounded what it needs at once."""
    run = Run(_HARD)
    run.owners_claim()
    blocked = _run_chunks(run)
    delay = 0 if blocked is None else None
    run.micro.finish("active")
    outcome = run.outcome("ordinary_chunking", _return(run), delay_ticks=delay, reuse=run.can_reuse_active())
    return _blocked_at(outcome, blocked)


def active_deferral() -> Outcome:
    """The active request waits until its owners have used and released what is in the way."""
    run = Run(_HARD)
    run.owners_claim()
    answer = run.serve_active()
    values: dict[str, float] = {}
    while not isinstance(answer, Admitted):
        run.tick += 1
        if run.tick == OWNERS_RETURN:
            values = run.owners_return()
        answer = run.serve_active()
    return run.outcome("active_deferral", values, delay_ticks=run.tick, reuse=run.can_reuse_active())


def offload_active() -> Outcome:
    """The active request runs until it is blocked, moves to the host, and comes back when the owners are done."""
    run = Run(_HARD)
    run.owners_claim()
    blocked = _run_chunks(run)
    copied = run.micro.swap_out("active")
    run.tick = OWNERS_RETURN
    values = run.owners_return()
    answer = run.micro.resume("active")
    copied += answer.new_blocks if isinstance(answer, Admitted) else 0
    served = isinstance(answer, Admitted) and _run_chunks(run) is None
    run.micro.finish("active")
    delay = run.tick if served else None
    outcome = run.outcome("offload_active", values, delay_ticks=delay, reuse=run.can_reuse_active())
    return _blocked_at(replace(outcome, offloaded_blocks=copied), blocked)


def bounded_active_live() -> Outcome:
    """A model whose attention is a window needs only that: chunks and window share the headroom."""
    run = Run(_HARD)
    run.owners_claim()
    half = run.micro.ledger.facts().room // 2
    chunks = tuple(min(half, len(ACTIVE) - begin) for begin in range(0, len(ACTIVE), half))
    return _planned("bounded_active_live", run, DemandPlan(chunks, Attention.SLIDING_WINDOW, window_blocks=half))


def recompute_split() -> Outcome:
    """Every chunk frees what it held, and the next one computes all before it again."""
    run = Run(_HARD)
    run.owners_claim()
    return _planned("recompute_split", run, DemandPlan(CHUNKS, Attention.RECOMPUTE))


def oracle() -> Outcome:
    """The best of the others on this very pool and model, known only afterwards.

    Best: most resident value, then served, then reusable, then soonest, then fewest blocks copied or recomputed. More
    capacity, another worker and another attention are not this pool and this model.
    """
    others = [run() for name, run in MECHANISMS.items() if name not in (*_ANOTHER_SETTING, "oracle")]
    best = max(others, key=_rank)
    return replace(best, mechanism="oracle", reasons=(f"chose {best.mechanism}", *best.reasons))


_ANOTHER_SETTING: Final = ("capacity_scaling", "route_elsewhere", "bounded_active_live")
MECHANISMS: Final[Mapping[str, Callable[[], Outcome]]] = {
    run.__name__: run
    for run in (
        native_eviction,
        resident_victim_exclusion,
        write_no_admit_only,
        ordinary_chunking,
        active_deferral,
        resident_reserve,
        offload_resident,
        offload_active,
        bounded_active_live,
        recompute_split,
        route_elsewhere,
        relax_resident_protection,
        capacity_scaling,
        oracle,
    )
}


def compare() -> list[Outcome]:
    """Run them all, in the order above."""
    return [run() for run in MECHANISMS.values()]


def _at_once(name: str, run: Run, *, future_reuse: bool = True) -> Outcome:
    """The active request asks once, when it arrives."""
    run.owners_claim()
    answer = run.serve_active(future_reuse=future_reuse)
    reuse = run.can_reuse_active()
    delay = 0 if isinstance(answer, Admitted) else None
    return run.outcome(name, _return(run), delay_ticks=delay, reuse=reuse)


def _planned(name: str, run: Run, plan: DemandPlan) -> Outcome:
    """The active request runs by a plan that is known in advance."""
    answer = run.micro.admit_plan("active", plan)
    blocked = None
    if isinstance(answer, Admitted):
        run.note_live()
        while blocked is None and run.micro.ledger.requests["active"].chunk < len(plan.chunks):
            blocked = None if run.micro.advance("active") is None else len(run.live) + 1
            run.note_live()
        run.micro.finish("active")
    served = isinstance(answer, Admitted) and blocked is None
    outcome = run.outcome(name, _return(run), delay_ticks=0 if served else None, reuse=run.can_reuse_active())
    return _blocked_at(replace(outcome, recomputed_blocks=plan.recomputed_blocks), blocked)


def _run_chunks(run: Run) -> int | None:
    """Run the active request from where it is, one chunk at a time; return the first step that is blocked, from 1."""
    active = run.micro.ledger.requests.get("active")
    if active is None:
        if not isinstance(run.micro.admit("active", ACTIVE[: CHUNKS[0]]), Admitted):
            return 1
        active = run.micro.ledger.requests["active"]
    for step in range(1, len(CHUNKS) + 1):
        begin, end = sum(CHUNKS[: step - 1]), sum(CHUNKS[:step])
        if end <= active.num_computed:
            continue
        if run.micro.step({"active": ACTIVE[begin:end]}) is not None:
            return step
        run.note_live()
    return None


def _return(run: Run) -> dict[str, float]:
    run.tick = OWNERS_RETURN
    return run.owners_return()


def _blocked_at(outcome: Outcome, step: int | None) -> Outcome:
    return outcome if step is None else replace(outcome, first_blocked_step=step)


def _rank(outcome: Outcome) -> tuple[float, ...]:
    delay = float("inf") if outcome.delay_ticks is None else outcome.delay_ticks
    cost = outcome.offloaded_blocks + outcome.recomputed_blocks
    return (outcome.resident_value, outcome.active_served, outcome.reuse_admitted, -delay, -cost)
