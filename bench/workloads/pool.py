"""Managers and prompts for the workloads."""

from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.shapes import BLOCK_TOKENS
from residentkv import Admitted, BlockManager, CacheIdentity, PoolOptions

Int32Array = NDArray[np.int32]

IDENTITY: Final = CacheIdentity("bench", "model", "tokenizer", "tenant", block_size=BLOCK_TOKENS, kv_format="fp16")
_VOCABULARY: Final = 32_000
_HASH_SEED: Final = 1  # the same probes in every run; it changes no decision
_KEYS: Final = count(_VOCABULARY)  # never an ordinary token, so a first block of its own


def new_manager(usable_blocks: int) -> BlockManager:
    """Build a pool with the default options."""
    return BlockManager(PoolOptions(usable_blocks), identity=IDENTITY, hash_seed=_HASH_SEED)


def random_tokens(num_tokens: int, seed: int = 0) -> Int32Array:
    """Token ids that no other seed repeats."""
    return np.random.default_rng(seed).integers(0, _VOCABULARY, num_tokens, dtype=np.int32)


class Prompts:
    """Prompts of one shape: `shared`, then tokens that no other prompt has.

    The array is reused, because a tokenizer's output is in the processor's cache, too.
    """

    def __init__(self, num_own_tokens: int, shared: Int32Array | None = None) -> None:
        head = np.empty(0, np.int32) if shared is None else shared
        self._own = len(head)
        self.tokens = np.concatenate([head, random_tokens(num_own_tokens, seed=1)])

    def next(self) -> Int32Array:
        """The next prompt, valid until the next call."""
        self.tokens[self._own] = next(_KEYS)
        return self.tokens


def serve(manager: BlockManager, request_id: str, tokens: Int32Array) -> Admitted:
    """Admit, compute and finish one request: its full blocks are cached afterwards."""
    admitted = manager.admit(request_id, tokens)
    assert isinstance(admitted, Admitted), admitted
    num_tokens = len(tokens) - admitted.num_cached_tokens
    plan = manager.plan_step(np.array([admitted.row], np.int32), np.array([num_tokens], np.int32))
    manager.commit_step(plan.step_id)
    manager.finish(request_id)
    return admitted


def fill(manager: BlockManager, sequence_blocks: int, num_blocks: int | None = None) -> None:
    """Cache sequences of `sequence_blocks` blocks until `num_blocks` were taken, by default until nothing is free."""
    wanted = manager.pool.counts().free if num_blocks is None else num_blocks
    prompts = Prompts(sequence_blocks * BLOCK_TOKENS)
    for number in range(-(-wanted // sequence_blocks)):
        serve(manager, f"fill-{number}", prompts.next())
