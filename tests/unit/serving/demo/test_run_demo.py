"""Every verdict of the demo can be "not ok": the runtime is sabotaged, and the scene that shows it says so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from residentkv.contract.claim import ClaimSpec, ProtectionMode
from residentkv.contract.decision import Deferred, Refused
from residentkv.contract.errors import ContractError
from residentkv.contract.events import Event
from residentkv.runtime.block_manager import BlockManager
from residentkv.runtime.kv_storage import KeysValues, KVStorage
from residentkv.serving.demo.run_demo import SCENES, run_demo
from residentkv.serving.demo.scene import Scene
from residentkv.serving.demo.stage import EventRecord, Stage
from residentkv.serving.model_loading import LoadedModel


class Listener:
    """A narrator that remembers."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begin(self, title: str) -> None:
        self.told.append(title)

    def say(self, text: str) -> None:
        self.told.append(text)

    def show(self, caption: str, picture: Any) -> None:
        self.told += [caption, picture.plain]

    def end(self, scene: Scene) -> None:
        self.told.append(scene.name)


def play(loaded: LoadedModel) -> dict[str, Scene]:
    return {scene.name: scene for scene in run_demo(loaded, EventRecord(), Listener())}


def test_all_scenes_are_ok_and_told(tiny_llama: LoadedModel) -> None:
    trace, listener = EventRecord(), Listener()
    scenes = run_demo(tiny_llama, trace, listener)
    assert [scene.name for scene in scenes] == [scene.__name__ for _, scene in SCENES]
    assert {scene.name: scene.as_json() for scene in scenes if not scene.ok} == {}
    assert [word for word in listener.told if word in {scene.name for scene in scenes}] == [s.name for s in scenes]
    assert trace.events


Sabotage = Callable[[pytest.MonkeyPatch], None]


def claim_protects_nothing(patch: pytest.MonkeyPatch) -> None:
    original = Stage.claim
    patch.setattr(Stage, "claim", lambda stage: replace(original(stage), mode=ProtectionMode.BEST_EFFORT))


def claim_is_rejected(patch: pytest.MonkeyPatch) -> None:
    def claim(stage: Stage) -> ClaimSpec:
        spec = original(stage)
        return replace(spec, cache_identity=replace(spec.cache_identity, block_size=4))

    original = Stage.claim
    patch.setattr(Stage, "claim", claim)


def nothing_is_reused(patch: pytest.MonkeyPatch) -> None:
    original = BlockManager.admit

    def admit(manager: BlockManager, *arguments: Any, **options: Any) -> Any:
        manager.reset()
        return original(manager, *arguments, **options)

    patch.setattr(BlockManager, "admit", admit)


def kv_is_mixed_up(patch: pytest.MonkeyPatch) -> None:
    original = KVStorage.gather

    def gather(storage: KVStorage, layer: int, slots: torch.Tensor) -> KeysValues:
        return original(storage, layer, slots.flip(0))

    patch.setattr(KVStorage, "gather", gather)


def refusals_name_nobody(patch: pytest.MonkeyPatch) -> None:
    original = BlockManager.admit

    def admit(manager: BlockManager, *arguments: Any, **options: Any) -> Any:
        answer = original(manager, *arguments, **options)
        if isinstance(answer, Refused):
            return replace(answer, record=replace(answer.record, blocking_claim_ids=()))
        return answer

    patch.setattr(BlockManager, "admit", admit)


def deferrals_become_refusals(patch: pytest.MonkeyPatch) -> None:
    original = BlockManager.admit

    def admit(manager: BlockManager, *arguments: Any, **options: Any) -> Any:
        answer = original(manager, *arguments, **options)
        return Refused(answer.request_id, answer.record) if isinstance(answer, Deferred) else answer

    patch.setattr(BlockManager, "admit", admit)


@pytest.mark.parametrize(
    ("sabotage", "exposed_by"),
    [
        (claim_protects_nothing, {"claim_materialized", "refused", "unclaimed_evicted", "live_case"}),
        (claim_is_rejected, {"claim_materialized", "refused", "unclaimed_evicted", "live_case"}),
        (nothing_is_reused, {"prefix_reused", "unclaimed_evicted"}),
        (kv_is_mixed_up, {"tokens_identical"}),
        (refusals_name_nobody, {"refused", "live_case"}),
        (deferrals_become_refusals, {"deferred_then_served"}),
    ],
)
def test_sabotage_is_exposed(
    sabotage: Sabotage, exposed_by: set[str], tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    scenes = play(tiny_llama)
    assert len(scenes) == 7
    assert {name for name, scene in scenes.items() if not scene.ok} >= exposed_by
    for name in exposed_by:
        assert scenes[name].as_json()["facts"]["failed_checks"]


def test_a_scene_that_breaks_off_is_not_ok_and_the_next_one_plays(
    tiny_llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(*_: object) -> None:
        raise ContractError("not today")

    monkeypatch.setattr("residentkv.runtime.claim_manager.ClaimManager.release", release)
    scenes = play(tiny_llama)
    assert scenes["unclaimed_evicted"].as_json() == {
        "name": "unclaimed_evicted",
        "ok": False,
        "facts": {"error": "ContractError: not today", "failed_checks": ["ran_to_its_end"]},
    }
    assert set(scenes) == {scene.__name__ for _, scene in SCENES}


def test_a_trace_that_can_not_be_written_is_an_error(tiny_llama: LoadedModel) -> None:
    class FullDisk(EventRecord):
        def write(self, event: Event) -> None:
            if len(self.events) == 50:
                raise OSError(28, "No space left on device", "trace.jsonl")
            super().write(event)

    with pytest.raises(OSError, match="No space left"):
        run_demo(tiny_llama, FullDisk(), Listener())
