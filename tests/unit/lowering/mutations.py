"""Single changes to a table or a trace: a field dropped or changed, two items swapped, an item left out or doubled."""

import copy
import random
from collections.abc import Iterator
from typing import Any

from residentkv.lowering.relation import Mechanism
from residentkv.lowering.vocabulary import Depth, Label, Mode, Obligation, Stance

Path = tuple[str | int, ...]

# Other values that a reader would accept, by the name of the field.
CHOICES: dict[str, list[Any]] = {
    "mode": [mode.value for mode in Mode],
    "mechanism": [mechanism.value for mechanism in Mechanism],
    "by": [mechanism.value for mechanism in Mechanism],
    "depth": [depth.value for depth in Depth],
    "declared": [label.value for label in Label],
    "obligation": [obligation.value for obligation in Obligation],
    "stance": [stance.value for stance in Stance],
    "verdict": ["pass", "fail"],
    "gate": ["L2", "L3", "L4", "L5", "priority_influence", "attributed_harm", "canonical_case", "offload"],
    "probe": ["native-litmus", "vllm-held", "vllm-observed", "rm"],
    "case": ["L1", "L2", "L3", "L4", "L5", "C1", "sweep-native-80", "L3-bystander-named"],
}


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def mutated(table: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy of the table with one change somewhere."""
    places = list(paths(table))
    while True:
        path = chance.choice(places)
        changed = copy.deepcopy(table)
        holder: Any = changed
        for key in path[:-1]:
            holder = holder[key]
        _change(holder, path[-1], chance)
        if changed != table:
            return changed


def _change(holder: Any, key: Any, chance: random.Random) -> None:
    value = holder[key]
    kind = chance.choice(["drop", "change", "change", "swap"])
    if kind == "swap" and isinstance(holder, list) and len(holder) > 1:
        other = chance.randrange(len(holder))
        holder[key], holder[other] = holder[other], holder[key]
    elif kind == "swap" and isinstance(value, list) and value:
        value.append(copy.deepcopy(chance.choice(value)))
    elif kind == "drop":
        del holder[key]
    elif key in CHOICES:
        holder[key] = chance.choice(CHOICES[key])
    elif isinstance(value, bool):
        holder[key] = not value
    elif isinstance(value, int):
        holder[key] = value + chance.choice([-1, 1])
    elif isinstance(value, str):
        holder[key] = chance.choice([value + "x", value[:-1], "", "other", value[::-1]])


def mutated_events(events: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """A copy of the events with one of them dropped, moved, or one of its fields dropped or changed."""
    changed = [dict(event) for event in events]
    at = chance.randrange(len(changed))
    kind = chance.choice(["drop event", "swap", "drop field", "change field", "change field"])
    if kind == "drop event":
        del changed[at]
    elif kind == "swap":
        other = chance.randrange(len(changed))
        one, two = changed[at], changed[other]
        for name in ("event_sequence", "timestamp_ns"):  # each takes the other's place in the order
            one[name], two[name] = two.get(name), one.get(name)
        changed[at], changed[other] = two, one
    else:
        name = chance.choice(list(changed[at]))
        if kind == "drop field":
            del changed[at][name]
        else:
            value = changed[at][name]
            changed[at][name] = (
                not value
                if isinstance(value, bool)
                else value + 1
                if isinstance(value, int)
                else [*value, "other"]
                if isinstance(value, list)
                else f"{value}x"
            )
    return changed
