"""Every lie changes what it says it changes, and the numbers look honest again."""

import pytest

from residentkv.conformance import tamper
from unit.conformance.script import Script

EVENTS = Script().accept().materialize().victim(7).claim("claim_demoted").events


def names(events):
    return [event["event"].removeprefix("resident_") for event in events]


ORDER = names(EVENTS)


def test_the_honest_events():
    assert ORDER == [
        "claim_submitted",
        "claim_accepted",
        "block_materialized",
        "block_materialized",
        "claim_materialized",
        "allocation_victim_selected",
        "claim_demoted",
    ]


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        (tamper.emit_nothing(), []),
        (tamper.drop("resident_block_materialized"), [*ORDER[:2], *ORDER[4:]]),
        (
            tamper.move_behind("resident_block_materialized", "resident_claim_demoted"),
            [*ORDER[:2], *ORDER[4:], *ORDER[2:4]],
        ),
        (
            tamper.move_behind("resident_claim_submitted", "resident_claim_accepted"),
            [ORDER[1], ORDER[0], *ORDER[2:]],
        ),
        (
            tamper.move_behind("resident_claim_demoted", "resident_claim_expired"),  # behind nothing: first
            [ORDER[-1], *ORDER[:-1]],
        ),
        (
            tamper.insert_behind(
                "resident_block_materialized", "future_reuse_denied", "resident_claim_accepted", lambda _accepted: {}
            ),
            [*ORDER[:4], "future_reuse_denied", *ORDER[4:]],
        ),
    ],
)
def test_lies_about_order(lie, expected):
    told = lie(EVENTS)
    assert names(told) == expected
    assert [event["event_sequence"] for event in told] == list(range(len(told)))


def test_an_edit_touches_one_kind_of_event():
    told = tamper.edit("resident_claim_demoted", {"protection_mode": "demotable"})(EVENTS)
    assert [event.get("protection_mode") for event in told[-3:]] == ["hard_protected", None, "demotable"]


def test_an_edit_of_claim_events_touches_all_of_them():
    told = tamper.edit_claim_events({"protection_mode": "demotable"})(EVENTS)
    assert {event.get("protection_mode") for event in told} == {"demotable", None}


def test_forgotten_order():
    assert {event["event_sequence"] for event in tamper.forget_order()(EVENTS)} == {1}


def test_an_invented_event_fits_the_run_and_says_what_it_is_told():
    invent = tamper.insert_behind(
        "resident_claim_demoted",
        "future_reuse_denied",
        "resident_claim_accepted",
        lambda accepted: {"request_id": accepted["claim_id"]},
    )
    event = invent(EVENTS)[-1]
    assert (event["event"], event["run_id"], event["request_id"]) == ("future_reuse_denied", "run", "a")


def test_there_is_no_lie_about_what_did_not_happen():
    invent = tamper.insert_behind("resident_claim_demoted", "future_reuse_denied", "resident_claim_expired", dict)
    assert invent(EVENTS) == EVENTS
    assert invent([]) == []


@pytest.mark.parametrize("lie", [tamper.drop("resident_claim_accepted"), tamper.edit_claim_events({"claim_id": "b"})])
def test_the_honest_events_stay_as_they_are(lie):
    before = [dict(event) for event in EVENTS]
    assert lie(EVENTS) != before
    assert before == EVENTS
