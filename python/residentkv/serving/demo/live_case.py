"""Scene 7: the live case of the papers, with a real model behind every number."""

from typing import Any, Final

from residentkv.contract.claim import ClaimState
from residentkv.contract.decision import Accepted, Refused
from residentkv.serving.demo.scene import Narrator, Scene
from residentkv.serving.demo.stage import CLAIM_ID, CLAIMED_BLOCKS, USABLE_BLOCKS, Stage

ACTIVE_BLOCKS: Final = 46

# Source: arXiv 2605.24259, the live vLLM case: 68 usable blocks, 40 claimed, an active request of 46, one block held
# elsewhere.
EXPECTED: Final[dict[str, Any]] = {
    "usable_blocks": 68,
    "claimed_blocks": 40,
    "active_blocks": 46,
    "held_elsewhere_blocks": 1,
    "available_blocks": 27,
    "shortfall_blocks": 19,
    "outcome": "refused",
    "blocking_claim_ids": [CLAIM_ID],
}


def live_case(stage: Stage, narrator: Narrator) -> Scene:
    """Claim the prefix again while it is cached, let one small request run, and ask for 46 blocks."""
    answer = stage.manager.claims.submit(stage.claim())
    elsewhere = stage.passage("elsewhere", 3, num_blocks=1, new_tokens=6)
    stage.loop.submit(elsewhere)
    stage.loop.step()
    narrator.show("before", stage.picture())
    mark = stage.mark()
    active = stage.passage("active", 4, num_blocks=ACTIVE_BLOCKS, new_tokens=4)
    stage.loop.submit(active)
    stage.loop.step()
    narrator.show("after", stage.picture())
    claim = stage.manager.claims.get(CLAIM_ID)
    facts = {"usable_blocks": USABLE_BLOCKS, "claimed_blocks": claim.surviving_blocks, **_outcome(active.refusal)}
    stage.serve()
    narrator.say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items()))
    checks = {
        "claimed_while_cached": isinstance(answer, Accepted) and answer.state is ClaimState.MATERIALIZED,
        **{name: facts.get(name) == value for name, value in EXPECTED.items()},
        "no_victim": not stage.events("allocation_victim_selected", since=mark),
        "the_other_request_went_on": len(elsewhere.generated) == elsewhere.max_new_tokens,
        "claim_still_materialized": stage.manager.claims.state(CLAIM_ID) is ClaimState.MATERIALIZED
        and claim.surviving_blocks == CLAIMED_BLOCKS,
    }
    return Scene("live_case", checks, facts)


def _outcome(refusal: Refused | None) -> dict[str, Any]:
    if refusal is None:
        return {"outcome": "not refused"}
    record = refusal.record
    return {
        "active_blocks": record.active_live_blocks_required,
        "held_elsewhere_blocks": record.active_live_blocks_current,
        "available_blocks": record.free_blocks_before_allocate,
        "shortfall_blocks": record.capacity_shortfall_blocks,
        "outcome": "refused",
        "blocking_claim_ids": list(record.blocking_claim_ids),
    }
