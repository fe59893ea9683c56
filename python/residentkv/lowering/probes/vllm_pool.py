"""vLLM's own KVCacheManager, driven request by request. Runs in the interpreter that has vllm; written for 0.32.

Nothing of vLLM is replaced: the manager is constructed as its scheduler does, and what happened is read from the KV
cache events that it publishes (`enable_kv_cache_events`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.kv_events import BlockRemoved, BlockStored
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash, maybe_convert_block_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request

init_none_hash(sha256)


@dataclass(frozen=True, slots=True)
class Served:
    """What one request did to the pool. Hashes are vLLM's own, as its events name them; `removed` is in order."""

    num_cached_tokens: int
    hashes: list[Any]
    removed: list[Any]
    stored: dict[Any, int]


class VllmPool:
    """One manager of `usable_blocks` blocks of `block_tokens` tokens, and vLLM's null block beside them."""

    def __init__(self, usable_blocks: int, block_tokens: int) -> None:
        spec = FullAttentionSpec(block_size=block_tokens, num_kv_heads=1, head_size=8, dtype=torch.float32)
        config = KVCacheConfig(
            num_blocks=usable_blocks + 1, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
        )
        self._manager = KVCacheManager(
            config,
            max_model_len=65_536,
            scheduler_block_size=block_tokens,
            hash_block_size=block_tokens,
            enable_caching=True,
            enable_kv_cache_events=True,
        )
        self._hasher = get_request_block_hasher(block_tokens, sha256)
        self._request: Any = None

    @property
    def block_pool(self) -> Any:
        """The BlockPool of the manager."""
        return self._manager.block_pool

    def begin(self, request_id: str, tokens: Sequence[int], *, cached_for_reuse: bool) -> Served | None:
        """Look up, allocate and compute a whole prompt. None if vLLM has no room: that is all it says.

        Parameters
        ----------
        cached_for_reuse : False passes `delay_cache_blocks`, and nothing is cached afterwards.
        """
        sampling = SamplingParams(max_tokens=1)
        request = Request(request_id, list(tokens), sampling, None, block_hasher=self._hasher)
        cached, num_cached, _ = self._manager.get_computed_blocks(request)
        allocated = self._manager.allocate_slots(
            request, len(tokens) - num_cached, num_cached, cached, delay_cache_blocks=not cached_for_reuse
        )
        if allocated is None:
            return None
        self._request = request
        hashes = [maybe_convert_block_hash(block_hash) for block_hash in request.block_hashes]
        blocks = [block.block_id for block in self._manager.get_blocks(request_id).blocks[0]]
        block_of = dict(zip(hashes, blocks, strict=False))
        removed: list[Any] = []
        stored: dict[Any, int] = {}
        for event in self._manager.take_events():
            if isinstance(event, BlockRemoved):
                removed += event.block_hashes
            elif isinstance(event, BlockStored):
                stored.update({block_hash: block_of[block_hash] for block_hash in event.block_hashes})
        return Served(num_cached, hashes, removed, stored)

    def finish(self) -> None:
        """Free the request that `begin` started, as the scheduler does at its end."""
        self._manager.free(self._request)

    def hold(self, block_ids: Sequence[int]) -> list[Any]:
        """Take one more reference on blocks (`BlockPool.touch`); answers the block objects."""
        blocks = [self.block_pool.blocks[block_id] for block_id in block_ids]
        self.block_pool.touch(blocks)
        return blocks

    def let_go(self, blocks: Sequence[Any]) -> None:
        """Give the references back, the tail of the chain first (`BlockPool.free_blocks`)."""
        self.block_pool.free_blocks(reversed(blocks))

    def forget(self, block_id: int) -> None:
        """Take a block's hash away (`BlockPool.evict_blocks`)."""
        self.block_pool.evict_blocks({block_id})
        self._manager.take_events()
