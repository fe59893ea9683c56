"""Scene 6: the pressure that the claim withstood, once more without it."""

from typing import Any

from residentkv.contract.claim import ClaimState
from residentkv.contract.decision import Admitted
from residentkv.serving.demo.pressure import PRESSURE_BLOCKS, pressure_request
from residentkv.serving.demo.scene import Narrator, Scene
from residentkv.serving.demo.stage import BLOCK_SIZE, CLAIM_ID, CLAIMED_BLOCKS, Stage


def unclaimed_evicted(stage: Stage, narrator: Narrator) -> Scene:
    """Ask a question after the refusal; release the claim, repeat the pressure, ask again."""
    claimed_tokens = CLAIMED_BLOCKS * BLOCK_SIZE
    kept = stage.chat(5)
    stage.serve(kept)
    stage.manager.claims.release(CLAIM_ID)
    narrator.show("the claim is released, its blocks are ordinary cache", stage.picture())
    mark = stage.mark()
    events = stage.serve(pressure_request(stage, "long-report-again"))
    served = any(isinstance(event, Admitted) for event in events)
    victims = stage.events("allocation_victim_selected", since=mark)
    lost = stage.events("resident_claim_block_lost_after_release", since=mark)
    narrator.show("long-report-again was served and pushed the prefix out", stage.picture())
    recomputed = stage.chat(5, "chat-5-again")
    stage.serve(recomputed)

    # Prompt tokens beyond the claimed prefix are new work in either case.
    facts: dict[str, Any] = {
        "pressure_blocks": PRESSURE_BLOCKS,
        "victim_blocks": len(victims),
        "lost_prefix_blocks": len(lost),
        "with_claim": _cost(kept.num_cached_tokens or 0, kept.time_to_first_token_s, claimed_tokens),
        "without_claim": _cost(recomputed.num_cached_tokens or 0, recomputed.time_to_first_token_s, claimed_tokens),
        "same_answer": kept.generated == recomputed.generated,
    }
    for title, cost in (("with the claim   ", facts["with_claim"]), ("without the claim", facts["without_claim"])):
        narrator.say(
            f"{title}: {cost['recomputed_prefix_tokens']:4d} of {claimed_tokens} prefix tokens recomputed, "
            f"first token after {cost['time_to_first_token_ms']:.0f} ms"
        )
    checks = {
        "nothing_recomputed_with_claim": facts["with_claim"]["recomputed_prefix_tokens"] == 0,
        "pressure_served_without_claim": served,
        "prefix_evicted": 0 < len(lost) <= len(victims),
        "recomputed_what_was_lost": facts["without_claim"]["recomputed_prefix_tokens"] == len(lost) * BLOCK_SIZE,
        "no_victim_was_protected": not any(victim["is_protected_resident"] for victim in victims),
        "released_not_harmed": stage.manager.claims.state(CLAIM_ID) is ClaimState.RELEASED
        and not stage.events("resident_claim_harmed"),
    }
    return Scene("unclaimed_evicted", checks, facts)


def _cost(cached_tokens: int, first_token_s: float | None, claimed_tokens: int) -> dict[str, float]:
    return {
        "recomputed_prefix_tokens": max(0, claimed_tokens - cached_tokens),
        "time_to_first_token_ms": round(1000 * (first_token_s or 0.0), 1),
    }
