"""Scenes 1 to 3: a prefix is claimed, computed once, reused, and the tokens are those of transformers' own cache."""

from typing import Any

from residentkv.contract.claim import ClaimState
from residentkv.contract.decision import Accepted
from residentkv.serving.demo.scene import Narrator, Scene
from residentkv.serving.demo.stage import BLOCK_SIZE, CLAIM_ID, CLAIMED_BLOCKS, NEW_TOKENS, Stage
from residentkv.serving.greedy_reference import greedy_reference


def claim_materialized(stage: Stage, narrator: Narrator) -> Scene:
    """Claim the system prompt before it exists, let the first chat compute it."""
    answer = stage.manager.claims.submit(stage.claim())
    counts = stage.manager.pool.counts()
    reserved, computed = counts.reserved, stage.manager.claims.get(CLAIM_ID).surviving_blocks
    narrator.say(
        f"The {CLAIMED_BLOCKS} blocks that every chat begins with are claimed hard_protected: "
        f"{reserved} blocks of {counts.usable} are promised, {computed} computed."
    )
    narrator.show("before", stage.picture())
    first = stage.chat(1)
    stage.serve(first)
    claim = stage.manager.claims.get(CLAIM_ID)
    narrator.say(
        f"chat-1 computes them once ({first.num_computed_tokens} tokens with its own): the claim is "
        f"{claim.state.value}, {claim.surviving_blocks} blocks stay on the device, held by no request."
    )
    narrator.show("after", stage.picture())
    life = {
        event["event"]: event["event_sequence"]
        for event in stage.events("resident_claim_accepted", "resident_claim_materialized")
    }
    checks = {
        "accepted_before_computed": isinstance(answer, Accepted)
        and answer.state is ClaimState.ACCEPTED
        and computed == 0,
        "whole_footprint_reserved": reserved == CLAIMED_BLOCKS,
        "prefix_was_not_cached": first.num_cached_tokens == 0,
        "materialized": claim.state is ClaimState.MATERIALIZED and claim.leading_blocks == CLAIMED_BLOCKS,
        "reservation_used_up": stage.manager.pool.counts().reserved == 0,
        "accepted_before_materialized": life.get("resident_claim_accepted", 0)
        < life.get("resident_claim_materialized", -1),
    }
    facts = {
        "claim_id": CLAIM_ID,
        "protection_mode": claim.mode.value,
        "predicate": str(claim.predicate),
        "usable_blocks": counts.usable,
        "block_size": BLOCK_SIZE,
        "reserved_blocks_when_accepted": reserved,
        "computed_blocks_when_accepted": computed,
        "resident_blocks": claim.surviving_blocks,
        "computed_tokens": first.num_computed_tokens,
        "event_sequences": life,
    }
    return Scene("claim_materialized", checks, facts)


def prefix_reused(stage: Stage, narrator: Narrator) -> Scene:
    """Serve three more chats at once: each computes its own question and nothing of the prefix."""
    chats = [stage.chat(number) for number in (2, 3, 4)]
    narrator.show("before", stage.picture())
    for chat in chats:
        stage.loop.submit(chat)
    stage.loop.step()
    narrator.show("all of them running", stage.picture())
    stage.serve()
    claimed_tokens = CLAIMED_BLOCKS * BLOCK_SIZE
    facts: list[dict[str, Any]] = []
    for chat in chats:
        cached, prompt = chat.num_cached_tokens or 0, len(chat.prompt)
        # Every generated token but the last is an input of the step after it.
        computed = chat.num_computed_tokens - (len(chat.generated) - 1)
        facts.append(
            {
                "request_id": chat.request_id,
                "prompt_tokens": prompt,
                "cached_tokens": cached,
                "computed_prompt_tokens": computed,
            }
        )
        narrator.say(f"{chat.request_id}: {cached} of {prompt} prompt tokens were there, {computed} computed.")
    narrator.show("after", stage.picture())
    checks = {
        "prefix_found_by_all": all(fact["cached_tokens"] >= claimed_tokens for fact in facts),
        "only_the_rest_computed": all(
            fact["computed_prompt_tokens"] == fact["prompt_tokens"] - fact["cached_tokens"] for fact in facts
        ),
        "claim_still_materialized": stage.manager.claims.state(CLAIM_ID) is ClaimState.MATERIALIZED,
    }
    return Scene("prefix_reused", checks, {"claimed_tokens": claimed_tokens, "requests": facts})


def tokens_identical(stage: Stage, narrator: Narrator) -> Scene:
    """Generate all answers so far with transformers' DynamicCache, one chat at a time, from the first token on."""
    facts = []
    for chat in stage.chats:
        reference = greedy_reference(stage.loaded, chat.prompt, max_new_tokens=NEW_TOKENS)
        identical = chat.generated == reference
        facts.append(
            {
                "request_id": chat.request_id,
                "identical": identical,
                "text": stage.text(chat),
                "tokens": chat.generated,
                "reference_tokens": reference,
            }
        )
        narrator.say(f"{chat.request_id} {'=' if identical else '!='} reference: {stage.text(chat)!r}")
    checks = {
        "some_tokens": all(chat.generated for chat in stage.chats),
        "identical": all(fact["identical"] for fact in facts),
    }
    return Scene("tokens_identical", checks, {"dtype": str(stage.loaded.model.dtype), "requests": facts})
