"""No single change to a good descriptor raises its label; none to a trace makes a failing gate pass."""

import hashlib
import json
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from residentkv.lowering.bad import offload_cases, trace_cases
from residentkv.lowering.bad.case import Case, honest_events, source_folder, toml_value, write_case
from residentkv.lowering.checker import check_descriptor
from residentkv.lowering.descriptor import Descriptor, DescriptorError
from residentkv.lowering.gates import GATES
from residentkv.lowering.reading import read_descriptor, tomllib
from residentkv.lowering.shipped import shipped_descriptors
from residentkv.lowering.verification import Verifier
from unit.lowering.mutations import mutated, mutated_events

_SHIPPED = {path.stem: path for path in shipped_descriptors()}
# Rows whose every anchor is verified on any machine.
_GOOD_ROWS = [
    ("residentkv", "residentkv-hard"),
    ("residentkv", "residentkv-soft"),
    ("residentkv", "residentkv-expiring"),
    ("residentkv", "residentkv-best-effort"),
    ("residentkv", "residentkv-write-no-admit"),
    ("vllm", "vllm-held"),
    ("vllm", "vllm-held-demotable"),
    ("vllm", "vllm-events-joined"),
    ("vllm", "vllm-write-no-admit"),
]
_MUTATIONS_A_ROW = 220


@pytest.fixture(scope="module")
def verifier():
    verifier = Verifier({"tempting": source_folder()}, {})
    yield verifier
    verifier.close()


def write_table(values: dict, path: Path) -> Path:
    """A descriptor of any shape as TOML; what TOML can not say is left out by the caller."""
    path.write_text("".join(f"{name} = {toml_value(value)}\n" for name, value in values.items()), encoding="utf-8")
    return path


def credit(path: Path, verifier: Verifier) -> int | None:
    """What the one row is worth; None if the file is refused."""
    try:
        descriptor = read_descriptor(path)
    except DescriptorError:
        return None
    return max(row.label.credit for row in check_descriptor(descriptor, verifier).rows)


def survey(values: dict, path: Path, verifier: Verifier, seed: int, count: int) -> Counter:
    """Mutate `count` times; answers how the credits compare with the unchanged one."""
    base = credit(write_table(values, path), verifier)
    assert base, "the unchanged row must be worth something"
    outcomes: Counter = Counter()
    chance = random.Random(seed)
    for _ in range(count):
        changed = mutated(values, chance)
        found = credit(write_table(changed, path), verifier)
        outcomes["refused" if found is None else "lower" if found < base else "equal"] += 1
        if found is not None and found > base:
            pytest.fail(f"raised from {base} to {found}: {path.read_text()}")
    return outcomes


@pytest.mark.parametrize(("stem", "row_id"), _GOOD_ROWS)
def test_no_change_to_a_good_row_raises_its_label(stem: str, row_id: str, verifier: Verifier, tmp_path: Path):
    values = tomllib.loads(_SHIPPED[stem].read_text(encoding="utf-8"))
    values["row"] = [row for row in values["row"] if row["id"] == row_id]
    shutil.copytree(_SHIPPED[stem].parent / "traces", tmp_path / "traces")
    outcomes = survey(values, tmp_path / "mutated.toml", verifier, seed=len(row_id), count=_MUTATIONS_A_ROW)
    assert outcomes["refused"] > 20
    assert outcomes["lower"] > 20


@pytest.mark.parametrize("name", ["honest-adapter", "honest-native", "honest-offload", "honest-approximation"])
def test_no_change_to_an_honest_case_raises_its_label(name: str, verifier: Verifier, tmp_path: Path):
    from residentkv.lowering.bad.suite import all_cases

    case = next(case for case in all_cases() if case.name == name)
    values = tomllib.loads(write_case(case, tmp_path).read_text(encoding="utf-8"))
    survey(values, tmp_path / "mutated.toml", verifier, seed=len(name), count=_MUTATIONS_A_ROW)


_TRACES = {
    "held-L3": "L3",
    "held-L4": "L4",
    "held-L5": "L5",
    "held-L2": "L2",
    "observed-L2": "attributed_harm",
    "held-reuse-callback": "L4",
}


def judged(gate: str, events: list, path: Path) -> bool:
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    return GATES[gate].judge(path, None).passed


@pytest.mark.parametrize("name", _TRACES)
def test_no_change_to_an_honest_trace_passes_a_gate_that_it_fails(name: str, tmp_path: Path):
    events, chance, path = [dict(event) for event in honest_events(name)], random.Random(name), tmp_path / "t.jsonl"
    others = [
        gate for gate in ("L3", "L4", "L5", "canonical_case", "attributed_harm") if not judged(gate, events, path)
    ]
    broken = 0
    for _ in range(60):
        changed = mutated_events(events, chance)
        broken += not judged(_TRACES[name], changed, path)
        gate = chance.choice(others)
        assert not GATES[gate].judge(path, None).passed
    assert broken >= 10, "a gate that no change makes fail proves nothing"


def lies() -> list[Case]:
    return [
        case
        for case in [*trace_cases._lies(), *offload_cases.cases()]
        if case.label.credit == 0 and case.traces["run.jsonl"]
    ]


@pytest.mark.parametrize("case", lies(), ids=lambda case: case.name)
def test_no_field_dropped_or_changed_makes_a_lie_pass(case: Case, tmp_path: Path):
    gate = case.row["evidence"][0]["anchors"][0]["gate"]
    events = [json.loads(line) for line in case.traces["run.jsonl"].splitlines()]
    chance, path = random.Random(case.name), tmp_path / "run.jsonl"
    for _ in range(80 if gate == "offload" else 12):
        at = chance.randrange(len(events))
        name = chance.choice(list(events[at]))
        changed = [{**event} for event in events]
        if chance.random() < 0.5:
            del changed[at][name]
        else:
            changed[at][name] = f"{changed[at][name]}x"
        assert not judged(gate, changed, path)


def test_a_mutated_trace_with_its_right_hash_is_not_believed_more(verifier: Verifier, tmp_path: Path):
    """As a liar would: change the trace, and put the new hash into the descriptor."""
    case = next(case for case in offload_cases.cases() if case.name == "honest-offload")
    descriptor = write_case(case, tmp_path).read_text(encoding="utf-8")
    old = hashlib.sha256(case.traces["run.jsonl"]).hexdigest()
    events = [json.loads(line) for line in case.traces["run.jsonl"].splitlines()]
    chance, lower = random.Random(7), 0
    for number in range(150):
        content = "".join(json.dumps(event) + "\n" for event in mutated_events(events, chance)).encode()
        (tmp_path / f"run{number}.jsonl").write_bytes(content)
        text = descriptor.replace(old, hashlib.sha256(content).hexdigest()).replace("run.jsonl", f"run{number}.jsonl")
        path = tmp_path / f"d{number}.toml"
        path.write_text(text, encoding="utf-8")
        found = read_descriptor(path)
        assert isinstance(found, Descriptor)
        (row,) = check_descriptor(found, verifier).rows
        assert row.label.credit <= case.label.credit
        lower += row.label.credit < case.label.credit
    assert lower > 75
