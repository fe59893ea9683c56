"""A pool, a model and a loop in a few lines, with the whole bookkeeping checked after every step."""

from collections.abc import Callable, Sequence

from residentkv.contract.identity import CacheIdentity
from residentkv.observe.sinks import CallbackSink
from residentkv.runtime.block_manager import BlockManager
from residentkv.runtime.kv_storage import KVStorage
from residentkv.runtime.pool_options import PoolOptions
from residentkv.serving.model_loading import LoadedModel
from residentkv.serving.model_runner import ModelRunner
from residentkv.serving.serving_loop import LoopOptions, ServingLoop
from residentkv.serving.serving_request import LoopEvent, ServingRequest


class Bench:
    """Requests go in, events come out; `served` steps until nothing is left."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        usable_blocks: int,
        block_size: int = 4,
        max_tokens_per_step: int = 64,
        runner: type[ModelRunner] = ModelRunner,
    ) -> None:
        options = loaded.storage_options(usable_blocks=usable_blocks, block_size=block_size)
        self.identity = CacheIdentity("test", loaded.model_id, loaded.model_id, "test", block_size, options.kv_format)
        self.storage = KVStorage(options, device=loaded.device)
        self.delivered: list[str] = []
        sink = CallbackSink(lambda event: self.delivered.append(event["event"]))
        self.manager = BlockManager(PoolOptions(usable_blocks, block_size), identity=self.identity, sinks=[sink])
        self.loop = ServingLoop(
            self.manager,
            runner(loaded, self.storage),
            options=LoopOptions(max_tokens_per_step=max_tokens_per_step, max_running=min(16, max_tokens_per_step)),
        )
        self.events: list[LoopEvent] = []

    def submit(self, *requests: ServingRequest) -> None:
        for request in requests:
            self.loop.submit(request)

    def step(self) -> list[LoopEvent]:
        events = self.loop.step()
        self.manager.pool.check_invariants()
        self.events += events
        return events

    def served(self, *requests: ServingRequest) -> list[list[int]]:
        self.submit(*requests)
        while self.loop.waiting or self.loop.running:
            self.step()
        return [request.generated for request in requests]

    def step_until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self.step()

    def of_kind(self, kind: type) -> Sequence[LoopEvent]:
        return [event for event in self.events if isinstance(event, kind)]
