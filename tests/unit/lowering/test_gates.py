"""Each gate passes its honest trace, and fails it for every other mode's."""

from pathlib import Path

import pytest

from residentkv.lowering.bad.case import trace
from residentkv.lowering.gates import GATES
from residentkv.lowering.vocabulary import BUNDLES, COMMON, Mode, Obligation

_HONEST = {"L3": "held-L3", "L4": "held-L4", "L5": "held-L5", "L2": "held-L2", "attributed_harm": "observed-L2"}


def judge(gate: str, run: str, folder: Path) -> tuple[str, ...]:
    path = folder / "run.jsonl"
    path.write_bytes(trace(run))
    return GATES[gate].judge(path, None).failing


@pytest.mark.parametrize("gate", _HONEST)
def test_an_honest_trace_passes(gate: str, tmp_path: Path):
    assert judge(gate, _HONEST[gate], tmp_path) == ()


# held-L2 and observed-L2 are one scenario, brought about by one adapter and seen by another.
_FOREIGN = [
    (gate, run)
    for gate, own in _HONEST.items()
    for run in _HONEST.values()
    if run != own and {run, own} != {"held-L2", "observed-L2"}
]


@pytest.mark.parametrize(("gate", "run"), _FOREIGN)
def test_a_trace_of_another_mode_fails(gate: str, run: str, tmp_path: Path):
    assert judge(gate, run, tmp_path)


def test_native_vllm_fails_the_canonical_case_by_its_victims(tmp_path: Path):
    failing = judge("canonical_case", "observed-sweep-native-80", tmp_path)
    assert failing == ("active_action", "active_served", "resident_preserved", "resident_victims", "active_reusable")


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_carries_obligations_of_its_mode_only(gate: str):
    (mode,) = GATES[gate].modes
    assert set(GATES[gate].carries) <= set(BUNDLES[mode])


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.ROUTING])
def test_some_gate_carries_the_whole_bundle(mode: Mode):
    assert any(set(BUNDLES[mode]) == set(gate.carries) for gate in GATES.values() if mode in gate.modes)


def test_nothing_here_can_show_placement():
    """No gate reads routes yet, so no router can be better than an approximation."""
    assert not any(Obligation.ACCEPTED_CLAIM_PLACEMENT in gate.carries for gate in GATES.values())


@pytest.mark.parametrize("gate", ["canonical_case", "connector.observation", "connector.failure_outcome"])
def test_partial_gates_do_not_carry_what_is_common(gate: str):
    assert not set(COMMON).intersection(GATES[gate].carries)


@pytest.mark.parametrize("gate", GATES)
def test_silence_fails_every_gate(gate: str, tmp_path: Path):
    path = tmp_path / "silent.jsonl"
    path.write_text('{"event": "hello"}\n', encoding="utf-8")
    assert not GATES[gate].judge(path, None).passed
