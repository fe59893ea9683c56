"""Where the demo plays: one pool, one model, and a record of every event."""

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from residentkv.contract.claim import ClaimSpec, ProtectionMode
from residentkv.contract.events import Event, EventSink
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import LeadingPrefix
from residentkv.runtime.block_manager import BlockManager
from residentkv.runtime.kv_storage import KVStorage
from residentkv.runtime.pool_options import PoolOptions
from residentkv.serving.demo.script import Script, write_script
from residentkv.serving.model_loading import LoadedModel
from residentkv.serving.model_runner import ModelRunner
from residentkv.serving.pool_picture import draw_pool
from residentkv.serving.serving_loop import ServingLoop
from residentkv.serving.serving_request import LoopEvent, ServingRequest

# The pool of the papers' live case, in which every scene plays.
USABLE_BLOCKS: Final = 68
CLAIMED_BLOCKS: Final = 40
# Small, so that 40 blocks of prompt are computed in a second or two on a CPU.
BLOCK_SIZE: Final = 8
NEW_TOKENS: Final = 16
CLAIM_ID: Final = "system-prompt"


class EventRecord:
    """A sink that keeps every event for the scenes to judge."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def write(self, event: Event) -> None:
        """Keep one event."""
        self.events.append(event)

    def flush(self) -> None:
        """Nothing to do: what was written is visible."""

    def close(self) -> None:
        """Nothing to do: the record outlives its manager."""


class Stage:
    """A manager, its storage and a serving loop, closed together.

    Parameters
    ----------
    loaded : the model.
    trace : gets every event; closed with the stage.

    Attributes
    ----------
    chats : every chat so far, in the order they were asked.
    """

    def __init__(self, loaded: LoadedModel, trace: EventSink) -> None:
        self.loaded = loaded
        self.chats: list[ServingRequest] = []
        self.script: Script = write_script(loaded, min_shared_tokens=CLAIMED_BLOCKS * BLOCK_SIZE)
        options = loaded.storage_options(usable_blocks=USABLE_BLOCKS, block_size=BLOCK_SIZE)
        self._identity = CacheIdentity(
            cache_key_domain="demo",
            model_id=loaded.model_id,
            tokenizer_id=loaded.model_id,
            salt_namespace="demo",
            block_size=BLOCK_SIZE,
            kv_format=options.kv_format,
        )
        self._record = EventRecord()
        storage = KVStorage(options, device=loaded.device)
        self.manager = BlockManager(
            PoolOptions(USABLE_BLOCKS, BLOCK_SIZE), identity=self._identity, sinks=(self._record, trace), run_id="demo"
        )
        self.loop = ServingLoop(self.manager, ModelRunner(loaded, storage))

    def close(self) -> None:
        """Close the manager and its sinks."""
        self.manager.close()

    def claim(self) -> ClaimSpec:
        """The claim of the demo: the leading blocks that all chats share, until released."""
        return ClaimSpec(
            claim_id=CLAIM_ID,
            owner_scope="library",
            cache_identity=self._identity,
            tokens=self.script.chats[0][: CLAIMED_BLOCKS * BLOCK_SIZE],
            predicate=LeadingPrefix(CLAIMED_BLOCKS),
            mode=ProtectionMode.HARD_PROTECTED,
        )

    def chat(self, number: int, name: str = "") -> ServingRequest:
        """A new request with the chat of question `number`, from 1."""
        prompt = self.script.chats[number - 1]
        self.chats.append(ServingRequest(name or f"chat-{number}", prompt, NEW_TOKENS, self.loaded.stop_ids))
        return self.chats[-1]

    def passage(self, name: str, number: int, *, num_blocks: int, new_tokens: int = NEW_TOKENS) -> ServingRequest:
        """A request that holds `num_blocks` at its peak, shares nothing with a chat and never stops early."""
        return ServingRequest(name, self.script.passage(number, num_blocks * BLOCK_SIZE - new_tokens), new_tokens)

    def serve(self, *requests: ServingRequest) -> list[LoopEvent]:
        """Queue the requests and run until nothing more can be done. Returns what happened, in order."""
        for request in requests:
            self.loop.submit(request)
        return list(self.loop.run())

    def mark(self) -> int:
        """The number of events so far: a place to look from in `events`."""
        self.manager.events.flush()
        return len(self._record.events)

    def events(self, *names: str, since: int = 0) -> Sequence[Event]:
        """The events with one of these names, in order, leaving out the first `since` events of the run."""
        self.manager.events.flush()
        return [event for event in self._record.events[since:] if event["event"] in names]

    def text(self, request: ServingRequest) -> str:
        """What a request generated, on one line."""
        decoded: Any = self.loaded.tokenizer.decode(request.generated, skip_special_tokens=True)
        return " ".join(str(decoded).split())

    def picture(self) -> Text:
        """Who holds which block, now."""
        pool = self.manager.pool
        holders = {name: pool.request(name).block_ids.tolist() for name in pool.request_ids()}
        return draw_pool(pool.block_states(), holders, width=USABLE_BLOCKS // 2)
