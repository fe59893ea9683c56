"""What a trace says about each claim: its events in order, and whether they all mean one object.

One pass; memory holds the events that a gate asked for and that name a claim, nothing of the rest of the trace.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from residentkv.contract.events import EVENT_ALIASES

# What makes two events speak of the same object. `predicate_id` and `materialization_predicate` are one requirement.
IDENTITY_FIELDS: Final = (
    "predicate_id",
    "materialization_predicate",
    "prefix_id",
    "reusable_object_id",
    "cache_identity",
    "request_token_map_id",
)
_ORDER_KEYS: Final = ("event_sequence", "timestamp_ns", "monotonic_ns", "timestamp")


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """One event that concerns a claim. `name` has aliases replaced; `fields` are the event's own."""

    line: int
    name: str
    fields: Mapping[str, Any]

    @property
    def claim_id(self) -> str | None:
        """The claim the event is about, None if it names none."""
        return claim_id_of(self.fields)

    @property
    def generation(self) -> int | None:
        """`lifecycle_generation`, None if it is not a count."""
        return count_of(self.fields.get("lifecycle_generation"))

    def is_true(self, name: str) -> bool:
        """Whether field `name` is JSON true; 1 and "true" are not."""
        return self.fields.get(name) is True

    def to_json(self) -> dict[str, Any]:
        """Where the event stands and what it is."""
        shown = ("event_sequence", "timestamp_ns", "request_id", "job_id", "offload_generation", "outcome_claim_id")
        return {
            "line": self.line,
            "event": self.fields["event"],
            **{name: self.fields[name] for name in shown if self.fields.get(name) is not None},
        }


@dataclass(slots=True)
class Identity:
    """The values of IDENTITY_FIELDS that events of one life agree on, and the fields on which they do not."""

    values: dict[str, Any] = field(default_factory=dict)
    conflicts: set[str] = field(default_factory=set)
    _last: tuple[Any, ...] = ()

    def see(self, fields: Mapping[str, Any]) -> None:
        """Compare one event with those before. A value that is neither a name nor an object is a conflict."""
        said = _identity_of(fields)
        if said == self._last:
            return
        self._last = said
        for name, value in zip(IDENTITY_FIELDS, said, strict=True):
            if value is None or value == "":
                continue
            if (type(value) is not str and type(value) is not dict) or self.values.setdefault(name, value) != value:
                self.conflicts.add(name)


def _identity_of(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple([fields.get(name) for name in IDENTITY_FIELDS])


@dataclass(slots=True)
class ClaimEvidence:
    """Everything a trace says about one claim id.

    Parameters
    ----------
    events : those whose name the gate asked for, in file order.
    identities : by `lifecycle_generation`; None holds events that do not say it.
    earliest : by `lifecycle_generation`, the smallest order key of events that were only looked at.
    """

    claim_id: str
    events: list[Evidence] = field(default_factory=list)
    identities: dict[int | None, Identity] = field(default_factory=dict)
    earliest: dict[int | None, dict[str, float]] = field(default_factory=dict)

    def see(self, fields: Mapping[str, Any]) -> None:
        """Take the identity of an event about this claim."""
        generation = count_of(fields.get("lifecycle_generation"))
        identity = self.identities.get(generation)
        if identity is None:
            identity = self.identities[generation] = Identity()
        identity.see(fields)

    def see_early(self, fields: Mapping[str, Any]) -> None:
        """Remember when an event was that no gate reads, so that a late acceptance is noticed."""
        key = order_key(fields)
        if key is None:
            return
        generation = count_of(fields.get("lifecycle_generation"))
        earliest = self.earliest.get(generation)
        if earliest is None:
            earliest = self.earliest[generation] = {}
        if key[1] < earliest.get(key[0], math.inf):
            earliest[key[0]] = key[1]


@dataclass(frozen=True, slots=True)
class Ordered:
    """Events in order. Where `is_sound` is False the order is a guess: file order, or the order of repeated keys."""

    events: tuple[Evidence, ...]
    is_sound: bool


def collect(
    events: Iterable[tuple[int, dict[str, Any]]], kept: Mapping[str, tuple[str, ...]], seen: frozenset[str]
) -> dict[str, ClaimEvidence]:
    """Gather what concerns each claim, by claim id, in the order of first mention.

    Parameters
    ----------
    kept : names of events to keep; for each, the fields besides the claim id whose claims it concerns too.
    seen : names of events of which only identity and time are taken.
    """
    claims: dict[str, ClaimEvidence] = {}
    for line, event in events:
        name = event.get("event")
        if type(name) is not str:
            continue
        name = EVENT_ALIASES.get(name, name)
        if name in kept:
            own = claim_id_of(event)
            evidence = Evidence(line, name, event)
            for claim_id in dict.fromkeys((own, *_named(event, kept[name]))):
                if claim_id is None:
                    continue
                if claim_id not in claims:
                    claims[claim_id] = ClaimEvidence(claim_id)
                claims[claim_id].events.append(evidence)
            if own is not None:
                claims[own].see(event)
        elif name in seen and (own := claim_id_of(event)) is not None:
            claim = claims.get(own)
            if claim is None:
                claim = claims[own] = ClaimEvidence(own)
            claim.see(event)
            claim.see_early(event)
    return claims


def in_order(events: Iterable[Evidence]) -> Ordered:
    """Sort by `event_sequence`, else by a timestamp.

    Duplicates, a mixture of keys, or none at all are unsound; so are events of two runs: each has a counter of its own.
    """
    listed = tuple(events)
    keys = [order_key(event.fields) for event in listed]
    known = [key for key in keys if key is not None]
    if len(known) != len(keys) or len({key[0] for key in known}) > 1:
        return Ordered(listed, is_sound=False)
    ranked = sorted(zip(known, listed, strict=True), key=lambda pair: (pair[0], pair[1].line))
    runs = {repr(event.fields["run_id"]) for event in listed if event.fields.get("run_id") is not None}
    is_sound = len(runs) <= 1 and all(earlier[0] < later[0] for earlier, later in pairwise(ranked))
    return Ordered(tuple(event for _, event in ranked), is_sound)


def order_key(fields: Mapping[str, Any]) -> tuple[str, float] | None:
    """Return the first order key an event has and its value; None if there is none or it is not a count.

    A `timestamp` may be a float.
    """
    for name in _ORDER_KEYS:
        value = fields.get(name)
        if value is None:
            continue
        is_time = name == "timestamp" and type(value) is float
        return (name, value) if is_time or count_of(value) is not None else None
    return None


def claim_id_of(fields: Mapping[str, Any]) -> str | None:
    """Return `claim_id`, else `resident_claim_id`; None unless it is a name."""
    for name in ("claim_id", "resident_claim_id"):
        value = fields.get(name)
        if value is not None and value != "":
            return value if type(value) is str else None
    return None


def count_of(value: object) -> int | None:
    """Return `value` if it is an int >= 0 and no bool, else None."""
    return value if type(value) is int and value >= 0 else None


def names_in(value: object) -> tuple[str, ...] | None:
    """Return a list of names as a tuple, None if it is anything else."""
    if type(value) is not list or not all(type(item) is str and item for item in value):
        return None
    return tuple(value)


def _named(event: Mapping[str, Any], fields: tuple[str, ...]) -> Iterator[str]:
    """Claims that `fields` name, a single name or a list."""
    for name in fields:
        value = event.get(name)
        if type(value) is str and value:
            yield value
        elif type(value) is list:
            yield from (item for item in value if type(item) is str and item)
