"""The demo from the first scene to the last, on one pool and in one trace."""

from collections.abc import Callable
from contextlib import closing
from typing import Final

from residentkv.contract.errors import ResidentKVError
from residentkv.contract.events import EventSink
from residentkv.serving.demo.claimed_prefix import claim_materialized, prefix_reused, tokens_identical
from residentkv.serving.demo.live_case import live_case
from residentkv.serving.demo.pressure import deferred_then_served, refused
from residentkv.serving.demo.released_claim import unclaimed_evicted
from residentkv.serving.demo.scene import Narrator, Scene
from residentkv.serving.demo.stage import Stage
from residentkv.serving.model_loading import LoadedModel

# In order: each scene starts from the pool that the one before left behind.
SCENES: Final[tuple[tuple[str, Callable[[Stage, Narrator], Scene]], ...]] = (
    ("A shared system prompt is claimed, and computed once", claim_materialized),
    ("Other chats reuse it", prefix_reused),
    ("The tokens are those of transformers' own cache", tokens_identical),
    ("A request that can not fit beside the claim is refused", refused),
    ("A request that fits later waits, and is served", deferred_then_served),
    ("The same pressure without the claim", unclaimed_evicted),
    ("The live case of the papers", live_case),
)


def run_demo(loaded: LoadedModel, trace: EventSink, narrator: Narrator) -> list[Scene]:
    """Play all scenes. The trace is complete and closed when this returns.

    A scene that an error of ours ended is not ok and says why; the next one is played all the same.

    Raises
    ------
    Exception : whatever kept the trace from being written.
    ConfigError : the model's chats share too little for the demo.
    """
    scenes = []
    with closing(Stage(loaded, trace)) as stage:
        for title, play in SCENES:
            narrator.begin(title)
            try:
                scene = play(stage, narrator)
                stage.manager.pool.check_invariants()
            except ResidentKVError as error:
                scene = Scene(play.__name__, {"ran_to_its_end": False}, {"error": f"{type(error).__name__}: {error}"})
            narrator.end(scene)
            scenes.append(scene)
    for failure in stage.manager.events.sink_errors:
        raise failure.error
    return scenes
