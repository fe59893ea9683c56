"""Lies a trace could tell. Each turns honest events into dishonest ones that are plausible otherwise.

Events are renumbered after a change, as a liar would: what a litmus must notice is the lie, not a gap in the numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from residentkv.contract.events import Event, make_event

Tamper = Callable[[Sequence[Event]], list[Event]]


def emit_nothing() -> Tamper:
    """Say nothing at all."""
    return lambda _events: []


def drop(name: str) -> Tamper:
    """Leave out every event called `name`."""
    return lambda events: _renumbered([event for event in events if event["event"] != name])


def edit(name: str, changes: Mapping[str, Any]) -> Tamper:
    """Put `changes` into every event called `name`."""
    return lambda events: [{**event, **changes} if event["event"] == name else event for event in events]


def edit_claim_events(changes: Mapping[str, Any]) -> Tamper:
    """Put `changes` into every event about a claim."""
    return lambda events: [
        {**event, **changes} if event["event"].startswith("resident_") else event for event in events
    ]


def insert_behind(anchor: str, name: str, like: str, facts: Callable[[Event], Mapping[str, Any]]) -> Tamper:
    """Put an event called `name` behind the last one called `anchor`.

    It belongs to the run of the first event called `like` and says `facts` of it; without one there is no lie.
    """

    def tampered(events: Sequence[Event]) -> list[Event]:
        model = next((event for event in events if event["event"] == like), None)
        if model is None:
            return list(events)
        at = _last(events, anchor) + 1
        return _renumbered([*events[:at], make_event(name, {**_run_of(model), **facts(model)}), *events[at:]])

    return tampered


def move_behind(name: str, anchor: str) -> Tamper:
    """Let every event called `name` happen only after the last one called `anchor`."""

    def tampered(events: Sequence[Event]) -> list[Event]:
        moved = [event for event in events if event["event"] == name]
        rest = [event for event in events if event["event"] != name]
        at = _last(rest, anchor) + 1
        return _renumbered([*rest[:at], *moved, *rest[at:]])

    return tampered


def forget_order() -> Tamper:
    """Give every event the same number."""
    return lambda events: [{**event, "event_sequence": 1} for event in events]


def _run_of(event: Event) -> dict[str, Any]:
    return {field: event[field] for field in ("timestamp_ns", "run_id", "policy", "usable_blocks")}


def _last(events: Sequence[Event], name: str) -> int:
    return max((i for i, event in enumerate(events) if event["event"] == name), default=-1)


def _renumbered(events: Sequence[Event]) -> list[Event]:
    return [{**event, "event_sequence": number} for number, event in enumerate(events)]
