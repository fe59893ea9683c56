"""The arithmetic of one event: numbers that any writer of contract.md section 6 must agree with itself about."""

from collections.abc import Iterator
from typing import Any, Final

from residentkv.contract.errors import ContractError
from residentkv.contract.events import Event
from residentkv.contract.predicate import LeadingPrefix, parse_predicate

_COUNTS: Final = (
    "event_sequence",
    "timestamp_ns",
    "usable_blocks",
    "lifecycle_generation",
    "resident_blocks_required",
    "resident_blocks_materialized",
    "leading_blocks_survived",
    "physical_block_id",
    "logical_block_position",
    "offload_generation",
    "restoration_generation",
    "block_count_footprint",
    "active_live_blocks_required",
    "active_live_blocks_current",
    "protected_resident_blocks",
    "resident_plus_active_blocks",
    "reused_blocks",
    "new_blocks",
)
# May be below zero: how far a demand is from fitting, and room that reservations have eaten.
_INTEGERS: Final = ("free_blocks_before_allocate", "capacity_shortfall_blocks")
_NAMES: Final = ("event", "request_id", "claim_id", "materialization_predicate", "protection_mode", "run_id", "policy")
_LISTS: Final = ("blocking_claim_ids", "sufficient_claim_ids", "protected_resident_claims")
_FLAGS: Final = ("predicate_materialized", "is_protected_resident", "predicate_before", "predicate_after")


def type_problems(event: Event) -> Iterator[str]:
    """Fields whose value is of the wrong kind. Null is of every kind: which fields may be null is the schema's."""
    for name in _COUNTS:
        value = event.get(name)
        if value is not None and (type(value) is not int or value < 0):
            yield f"{name} is {value!r:.60}, not a count"
    for name in _INTEGERS:
        if event.get(name) is not None and type(event[name]) is not int:
            yield f"{name} is {event[name]!r:.60}, not an integer"
    for name in _NAMES:
        if event.get(name) is not None and type(event[name]) is not str:
            yield f"{name} is {event[name]!r:.60}, not a name"
    for name in _LISTS:
        value = event.get(name)
        if value is not None and not (type(value) is list and all(type(item) is str and item for item in value)):
            yield f"{name} is not a list of names"
        elif value is not None and len(set(value)) != len(value):
            yield f"{name} names a claim twice"
    for name in _FLAGS:
        if event.get(name) is not None and type(event[name]) is not bool:
            yield f"{name} is {event[name]!r:.60}, neither true nor false"


def survival_problems(event: Event) -> Iterator[str]:
    """What a claim event says about its blocks, against its own predicate."""
    materialized, leading = event.get("resident_blocks_materialized"), event.get("leading_blocks_survived")
    if materialized is None or leading is None:
        return
    if leading > materialized:
        yield f"{leading} leading blocks survive of {materialized}"
    try:
        predicate = parse_predicate(event["materialization_predicate"])
    except (ContractError, ValueError) as error:
        yield str(error)
        return
    holds = event.get("predicate_materialized")
    if isinstance(predicate, LeadingPrefix):
        # The block that makes a predicate true is reported before the transition that says so.
        is_about_to_hold = event["event"] == "resident_block_materialized" and holds is False
        if holds is not (leading >= predicate.num_blocks) and not is_about_to_hold:
            yield f"predicate_materialized is {holds} with {leading} leading blocks and {predicate}"
    elif holds and materialized < predicate.num_blocks:
        yield f"predicate_materialized is True with {materialized} blocks and {predicate}"
    required = event.get("resident_blocks_required")
    if required is not None and required < predicate.num_blocks:
        yield f"resident_blocks_required is {required}, {predicate} needs more"


def record_problems(event: Event) -> Iterator[str]:
    """What a decision says about the sets P, held and A(r), as far as sizes alone can contradict each other.

    |P u held u A| is at most the sum and at least the largest of the three; a decision must fit its feasibility.
    """
    usable, demand = event.get("usable_blocks"), event.get("active_live_blocks_required")
    protected, current = event.get("protected_resident_blocks"), event.get("active_live_blocks_current")
    total = event.get("resident_plus_active_blocks")
    if protected is not None and current is not None and total is not None and demand is not None:
        sizes = (protected, current, demand)
        if not max(sizes) <= total <= sum(sizes):
            yield f"resident_plus_active_blocks is {total} for P={protected}, held={current}, A={demand}"
    if protected is not None and usable is not None and protected > usable:
        yield f"{protected} protected blocks in a pool of {usable}"
    if current is not None and usable is not None and current > usable:
        yield f"{current} blocks held in a pool of {usable}"
    available, shortfall = event.get("free_blocks_before_allocate"), event.get("capacity_shortfall_blocks")
    if available is not None and usable is not None and available > usable:
        yield f"{available} free blocks in a pool of {usable}"
    if available is not None and shortfall is not None and demand is not None and shortfall + available > demand:
        yield f"capacity_shortfall_blocks is {shortfall} with {available} free and {demand} needed"
    yield from _decision_problems(event, demand, protected, usable)


def _decision_problems(event: Event, demand: Any, protected: Any, usable: Any) -> Iterator[str]:
    name, feasibility = event["event"], event.get("feasibility")
    if name == "active_request_admitted":
        if feasibility not in (None, "feasible"):
            yield f"admitted although {feasibility}"
        if demand is not None and usable is not None and demand > usable:
            yield f"admitted {demand} blocks to a pool of {usable}"
        reused, new = event.get("reused_blocks"), event.get("new_blocks")
        if reused is not None and new is not None and demand is not None and reused + new > demand:
            yield f"admitted with {reused} reused and {new} new blocks of {demand}"
    elif name == "active_request_deferred" and feasibility not in (None, "feasible"):
        yield f"deferred although {feasibility}"
    elif name == "active_request_refused" and feasibility == "feasible":
        yield "refused although feasible"
    if demand is None or protected is None or usable is None:
        return
    if feasibility == "feasible" and max(demand, protected) > usable:
        yield f"called feasible with P={protected}, A={demand} in {usable}"
    if feasibility == "infeasible_preserve_resident_and_active" and demand + protected <= usable:
        yield f"called infeasible with P={protected}, A={demand} in {usable}"
    blocking = event.get("blocking_claim_ids")
    if name == "active_request_refused" and demand > usable and blocking:
        yield f"blames claims for a request of {demand} blocks in a pool of {usable}"
    if blocking and not set(event.get("sufficient_claim_ids") or ()) <= set(
        event.get("protected_resident_claims") or ()
    ):
        yield "sufficient_claim_ids names claims that protect nothing"
