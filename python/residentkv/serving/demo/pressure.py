"""Scenes 4 and 5: what can not fit beside the claim is refused with numbers, what fits later waits and is served."""

from typing import Any

from residentkv.contract.claim import ClaimState
from residentkv.contract.decision import Admitted, ConflictRecord, Deferred, Refused
from residentkv.serving.demo.scene import Narrator, Scene
from residentkv.serving.demo.stage import CLAIM_ID, CLAIMED_BLOCKS, USABLE_BLOCKS, Stage
from residentkv.serving.serving_request import Finished, ServingRequest

# Fits the pool, but not beside the claim; without the claim it pushes nearly everything else out.
PRESSURE_BLOCKS = USABLE_BLOCKS - 2


def pressure_request(stage: Stage, name: str) -> ServingRequest:
    """The long request of scenes 4 and 6."""
    return stage.passage(name, 0, num_blocks=PRESSURE_BLOCKS, new_tokens=4)


def refused(stage: Stage, narrator: Narrator) -> Scene:
    """Ask for nearly the whole pool while the claim stands."""
    mark = stage.mark()
    narrator.show("before", stage.picture())
    events = stage.serve(pressure_request(stage, "long-report"))
    answer = next((event for event in events if isinstance(event, Refused)), None)
    narrator.show("after", stage.picture())
    if answer is None:
        return Scene("refused", {"refused": False}, {"outcome": [type(event).__name__ for event in events]})
    record = answer.record
    narrator.say(
        f"long-report needs {record.active_live_blocks_required} blocks, the claim {record.protected_resident_blocks}: "
        f"{record.resident_plus_active_blocks} of {record.usable_blocks}. Refused because of "
        f"{', '.join(record.blocking_claim_ids)}, {record.capacity_shortfall_blocks} blocks short. No block moved."
    )
    checks = {
        "names_exactly_the_claim": record.blocking_claim_ids == (CLAIM_ID,),
        "its_end_would_suffice": record.sufficient_claim_ids == (CLAIM_ID,),
        "does_not_fit_beside_the_claim": CLAIMED_BLOCKS + PRESSURE_BLOCKS > USABLE_BLOCKS,
        "numbers_add_up": record.active_live_blocks_required == PRESSURE_BLOCKS
        and record.protected_resident_blocks == CLAIMED_BLOCKS
        and record.capacity_shortfall_blocks == PRESSURE_BLOCKS - record.free_blocks_before_allocate,
        "no_victim": not stage.events("allocation_victim_selected", since=mark),
        "preserved_event": len(stage.events("resident_claim_preserved", since=mark)) == 1,
        "claim_still_materialized": stage.manager.claims.state(CLAIM_ID) is ClaimState.MATERIALIZED,
    }
    return Scene("refused", checks, record_facts(record))


def deferred_then_served(stage: Stage, narrator: Narrator) -> Scene:
    """Ask for what fits beside the claim, but not beside the claim and a running request."""
    mark = stage.mark()
    holder, waiter = stage.passage("report-1", 1, num_blocks=16), stage.passage("report-2", 2, num_blocks=18)
    stage.loop.submit(holder)
    events = stage.loop.step()
    narrator.show("report-1 runs", stage.picture())
    stage.loop.submit(waiter)
    events += stage.loop.step()
    deferral = waiter.last_deferral
    if deferral is not None:
        record = deferral.record
        narrator.say(
            f"report-2 needs {record.active_live_blocks_required} blocks, {record.free_blocks_before_allocate} are "
            f"available now. Deferred, {record.capacity_shortfall_blocks} short: it fits once report-1 is done."
        )
    events += stage.loop.run()
    narrator.show("both are done", stage.picture())
    order = [_label(event) for event in events if isinstance(event, Admitted | Deferred | Refused | Finished)]
    narrator.say(" -> ".join(order))
    wanted = ["report-1 admitted", "report-2 deferred", "report-1 finished", "report-2 admitted", "report-2 finished"]
    checks = {
        "deferred_until_the_other_was_done": order == wanted,
        "all_tokens_generated": len(waiter.generated) == waiter.max_new_tokens,
        "same_order_in_the_trace": _traced_order(stage, mark, waiter.request_id)
        == ["active_request_deferred", "active_request_admitted"],
        "claim_untouched": stage.manager.claims.get(CLAIM_ID).surviving_blocks == CLAIMED_BLOCKS,
    }
    deferred = next((event.record for event in events if isinstance(event, Deferred)), None)
    facts = {"order": order, "generated_tokens": len(waiter.generated), **(record_facts(deferred) if deferred else {})}
    return Scene("deferred_then_served", checks, facts)


def record_facts(record: ConflictRecord) -> dict[str, Any]:
    """The numbers of a decision under the names that the events use."""
    return record.as_fields()


def _label(event: Admitted | Deferred | Refused | Finished) -> str:
    return f"{event.request_id} {type(event).__name__.lower()}"


def _traced_order(stage: Stage, mark: int, request_id: str) -> list[str]:
    decisions = stage.events("active_request_admitted", "active_request_deferred", "active_request_refused", since=mark)
    return [event["event"] for event in decisions if event["request_id"] == request_id]
