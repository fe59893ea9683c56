"""`trace explain`: every claim and every request gets its story, with the line of each event."""

from residentkv.conformance.trace_story import tell
from unit.conformance.gates.writer import connector_life, numbered, offload_lifecycle


def told(events, **only):
    return tell(enumerate(events, start=1), **only)


def lines(sentences):
    return [sentence.line for sentence in sentences]


def test_a_claims_story_has_every_turn_of_its_life():
    stories = told(offload_lifecycle())
    texts = [sentence.text for sentence in stories.claims["a"]]
    assert texts[:4] == [
        "It asks for 60 blocks as offloadable: leading_prefix_at_least(60).",
        "It is accepted, generation 1.",
        "1 of its blocks is there.",
        "It is materialized: 60 leading blocks survive.",
    ]
    assert texts[-2:] == [
        "Its restore fails for request refused; the outcome is a refusal of claim a.",
        "Request refused is refused because its restore failed; this claim is named.",
    ]
    assert lines(stories.claims["a"]) == list(range(1, 13))
    assert [sentence.text for sentence in stories.requests["refused"]] == [
        "It needs claim a back from the tier.",
        "The restore of claim a that it waits for fails.",
        "It is refused; in its way: a.",
    ]


def test_a_decision_is_told_with_its_numbers_to_everybody_it_names():
    refused = {
        "event": "active_request_refused", "request_id": "r", "active_live_blocks_required": 70,
        "protected_resident_blocks": 60, "capacity_shortfall_blocks": 50, "blocking_claim_ids": ["a", "b"],
    }  # fmt: skip
    stories = told(numbered([refused]))
    assert stories.requests["r"][0].text == (
        "It is refused: it needs 70 of 80 blocks, 60 are protected, 50 are missing; in its way: a, b."
    )
    assert stories.claims["b"][0].text == "Request r is refused; this claim is named beside a."


def test_repeated_events_are_one_sentence():
    victim = {"event": "allocation_victim_selected", "request_id": "r"}
    stories = told(numbered([victim] * 50))
    assert [(sentence.line, sentence.text) for sentence in stories.requests["r"]] == [
        (1, "50 cached blocks are evicted for it.")
    ]


def test_one_claim_or_one_request_alone():
    events = [*connector_life("a"), *connector_life("b")]
    stories = told(events, claim_id="b")
    assert (set(stories.claims), set(stories.requests)) == ({"b"}, set())
    stories = told(events, request_id="a-last")
    assert (set(stories.claims), set(stories.requests)) == (set(), {"a-last"})
    assert set(told(events).claims) == {"a", "b"}


def test_whatever_a_field_holds_there_is_a_sentence():
    names = ["resident_claim_offloaded", "active_request_refused", "offload_worker_transfer_finished", "unheard", None]
    odd = [None, 7, True, "{event}", [], {"a": 1}, ["{0}"]]
    fields = ["cache_tier_to", "blocking_claim_ids", "transfer_type", "success", "request_id", "claim_id"]
    events = [{"event": name, "claim_id": "a", **dict.fromkeys(fields[:5], value)} for name in names for value in odd]
    stories = told(events)
    assert stories.num_events == len(events)
    assert stories.num_untold == 2 * len(odd)
    assert len(stories.claims["a"]) == 3 * len(odd)
    assert stories.to_json()["untold"] == 14
