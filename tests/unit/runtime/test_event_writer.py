import numpy as np
import pytest

from residentkv._core import EVENT_KINDS, NO_CLAIM, NO_REQUEST
from residentkv.contract.events import EVENT_FIELDS, EVENT_NAMES, Event
from residentkv.contract.predicate import LeadingPrefix
from residentkv.runtime.cause_names import CauseNames
from residentkv.runtime.claim_names import ClaimNames, NamedClaim
from residentkv.runtime.event_writer import Details, EventWriter, RunStamp
from residentkv.runtime.request_names import RequestNames, Waiter

DTYPE = np.dtype(
    [
        *((name, "i8") for name in ("sequence", "timestamp_ns")),
        *((name, "u8") for name in ("request", "claim")),
        *((name, "i4") for name in ("kind", "cause", "block", "position", "required", "materialized", "leading")),
        *((name, "u1") for name in ("predicate_before", "predicate_after", "is_protected")),
    ]
)


@pytest.fixture
def claims() -> ClaimNames:
    names = ClaimNames()
    names.add(3, NamedClaim({"claim_id": "c", "resident_blocks_required": 2}, LeadingPrefix(2)))
    return names


@pytest.fixture
def writer(claims: ClaimNames) -> EventWriter:
    requests = RequestNames(4, has_reader=True)
    requests.note(Waiter("a", 5, wants_reuse=True), 0)
    causes = CauseNames()
    causes.number("ecc")
    return EventWriter(RunStamp("run", "policy", 8), claims, requests, causes)


def records(*named: dict[str, object]) -> np.ndarray:
    """Native records; what is not given is as the core leaves it."""
    array = np.zeros(len(named), DTYPE)
    for index, given in enumerate(named):
        blank = {"request": NO_REQUEST, "claim": NO_CLAIM, "required": -1, "block": -1, "position": -1}
        fields = {**blank, "sequence": index + 1, **given, "kind": EVENT_KINDS.index(given["kind"])}
        for name, value in fields.items():
            array[index][name] = value
    return array


def test_native_kinds_are_events_of_the_contract():
    assert set(EVENT_KINDS) <= set(EVENT_NAMES)
    assert [name for name in EVENT_NAMES if name in EVENT_KINDS] == list(EVENT_KINDS)


def test_every_event_has_its_whole_schema(writer: EventWriter):
    about_blocks = ("resident_block_materialized", "allocation_victim_selected")
    for kind in EVENT_KINDS:
        place = {"position": 0, "block": 1} if kind in about_blocks else {}
        (event,) = writer.write(records({"kind": kind, "claim": 3, **place}), {})
        assert list(event) == list(EVENT_FIELDS[kind])


def test_numbers_become_names(writer: EventWriter):
    (event,) = writer.write(records({"kind": "resident_claim_materialized", "claim": 3, "request": 5}), {})
    assert (event["claim_id"], event["request_id"], event["run_id"]) == ("c", "a", "run")


def test_details_are_used_once(writer: EventWriter):
    details = {1: Details(request_id="from python"), 7: Details(request_id="later")}
    (event,) = writer.write(records({"kind": "future_reuse_admitted"}), details)
    assert event["request_id"] == "from python"
    assert list(details) == [7]


def test_a_number_nobody_can_name_leaves_null_and_loses_nothing(writer: EventWriter):
    events: list[Event] = writer.write(
        records(
            {"kind": "resident_block_materialized", "claim": 99, "block": 4, "position": 0},
            {"kind": "active_request_admitted", "request": 99},
        ),
        {},
    )
    assert [event["claim_id"] for event in events] == [None, None]
    assert [event["request_id"] for event in events] == [None, None]
    assert events[0]["physical_block_id"] == 4


def test_reuse_is_read_from_the_event_that_follows(writer: EventWriter):
    admitted = {"kind": "active_request_admitted", "request": 5}
    events = writer.write(
        records(admitted, {"kind": "future_reuse_denied"}, admitted, {"kind": "future_reuse_admitted"}), {}
    )
    assert [event["future_reuse_admitted"] for event in events[::2]] == [False, True]


def test_an_admission_tells_of_its_own_victims_only(writer: EventWriter):
    victim = {"kind": "allocation_victim_selected", "request": 5, "timestamp_ns": 10, "block": 1, "position": 0}
    admitted = {"kind": "active_request_admitted", "request": 5, "timestamp_ns": 10, "position": 0}
    _, first = writer.write(records(victim, admitted), {})  # earlier in the same nanosecond, for a step
    (second,) = writer.write(records({**admitted, "position": 1}), {})
    assert [event["arbiter_action"].removeprefix("serve_active_") for event in (first, second)] == [
        "preserve_resident",
        "evict_resident",
    ]


def test_nothing_to_write(writer: EventWriter):
    assert writer.write(records(), {}) == []
