"""Whole lives of requests in a full pool: all new blocks, or a prefix hit."""

import numpy as np

from bench.shapes import BLOCK_TOKENS, REQUEST_BLOCKS
from bench.workloads.base import Facts, expect
from bench.workloads.pool import Int32Array, Prompts, fill, new_manager, random_tokens, serve
from residentkv import BlockManager


class RequestLife:
    """Admit a request, plan and commit its prefill, finish it. Every prompt begins with the tokens `cached`.

    The pool is full, so each new block evicts cached content.
    """

    units = 1

    def __init__(self, manager: BlockManager, cached: Int32Array, num_new_blocks: int) -> None:
        self._manager = manager
        self._num_cached_tokens, self._num_new_blocks = len(cached), num_new_blocks
        self._prompts = Prompts(num_new_blocks * BLOCK_TOKENS, shared=cached)
        self._rows = np.zeros(1, np.int32)
        self._num_tokens = np.array([num_new_blocks * BLOCK_TOKENS], np.int32)
        self._num_runs = 0
        self._before = manager.pool.counts()
        expect("free blocks", self._before.free, 0)

    def prepare(self) -> None:
        """Name the next request and its prompt, as a tokenizer does."""
        self._num_runs += 1
        self._request_id = f"request-{self._num_runs}"
        self._tokens = self._prompts.next()

    def run(self) -> None:
        """One life: four calls."""
        manager, request_id, rows = self._manager, self._request_id, self._rows
        rows[0] = manager.admit(request_id, self._tokens).row
        plan = manager.plan_step(rows, self._num_tokens)
        manager.commit_step(plan.step_id)
        manager.finish(request_id)

    def verify(self) -> Facts:
        """Each run evicted its new blocks, hit its prefix, and left its blocks in the index."""
        before, after = self._before, self._manager.pool.counts()
        expect("evicted blocks", after.num_evictions - before.num_evictions, self._num_runs * self._num_new_blocks)
        expect("hit tokens", after.num_hit_tokens - before.num_hit_tokens, self._num_runs * self._num_cached_tokens)
        expect("running requests", after.num_requests, 0)
        last = self._manager.claims.explain(np.append(self._tokens, np.int32(0)))
        expect("blocks of the last request that are cached now", last.num_evicted_blocks, 1)
        self._manager.pool.check_invariants()
        return {}


class AdmitNewBlocks(RequestLife):
    """Row 1: 64 new blocks, committed to the prefix index, finished."""

    def __init__(self, usable_blocks: int) -> None:
        manager = new_manager(usable_blocks)
        fill(manager, REQUEST_BLOCKS)
        super().__init__(manager, np.empty(0, np.int32), REQUEST_BLOCKS)


class HitPrefix(RequestLife):
    """Row 2: a hit of 64 blocks, one new block, finished."""

    def __init__(self, usable_blocks: int) -> None:
        manager = new_manager(usable_blocks)
        fill(manager, REQUEST_BLOCKS)
        prefix = random_tokens(REQUEST_BLOCKS * BLOCK_TOKENS)
        serve(manager, "prefix", prefix)
        super().__init__(manager, prefix, 1)
