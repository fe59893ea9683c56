"""Decode steps of many running requests: the call that a serving loop makes most."""

import numpy as np

from bench.shapes import BLOCK_TOKENS, DECODE_PROMPT_BLOCKS, DECODE_STEPS_OF_A_LIFE, NUM_RUNNING
from bench.workloads.base import Facts, expect
from bench.workloads.pool import Int32Array, Prompts, fill, new_manager
from residentkv import BlockManager, StepPlan


class DecodeStep:
    """Row 3: plan a step of one token for each running request, take block tables and slot mapping, commit.

    Prompts are staggered by one token: in every step one request in sixteen begins a block and as many fill one.
    """

    units = 1

    def __init__(self, manager: BlockManager, shared: Int32Array) -> None:
        self._manager = manager
        own_tokens = DECODE_PROMPT_BLOCKS * BLOCK_TOKENS - len(shared)
        self._prompts = [Prompts(own_tokens + i % BLOCK_TOKENS + 1, shared=shared) for i in range(NUM_RUNNING)]
        self._rows = np.zeros(NUM_RUNNING, np.int32)
        self._ones = np.ones(NUM_RUNNING, np.int32)
        self._token_ids = np.zeros(NUM_RUNNING, np.int32)
        self._num_runs = self._steps_of_this_life = self._blocks_of_restarts = 0
        self._start_life()
        self._before = manager.pool.counts()
        self._blocks_of_restarts = 0

    def prepare(self) -> None:
        """Sample the step's tokens; every so often finish all requests and admit others."""
        if self._steps_of_this_life == DECODE_STEPS_OF_A_LIFE:
            for i in range(NUM_RUNNING):
                self._manager.finish(f"running-{i}")
            self._start_life()
        self._num_runs += 1
        self._steps_of_this_life += 1
        self._token_ids.fill(self._num_runs)

    def run(self) -> None:
        """One step: two calls, two arrays."""
        manager = self._manager
        plan = manager.plan_step(self._rows, self._ones)
        self._arrays = plan.block_table, plan.slot_mapping
        manager.commit_step(plan.step_id, token_ids=self._token_ids)

    def verify(self) -> Facts:
        """Each run took one block in sixteen rows; the last step's slots are where its block tables say."""
        before, after = self._before, self._manager.pool.counts()
        taken = after.num_allocations - before.num_allocations - self._blocks_of_restarts
        expect("blocks taken by decode steps", taken, self._num_runs * NUM_RUNNING // BLOCK_TOKENS)
        expect("free blocks", after.free, 0)
        plan = self._manager.plan_step(self._rows, self._ones)
        self._check_plan(plan)
        self._manager.fail_step(plan.step_id)
        self._manager.pool.check_invariants()
        return {}

    def _check_plan(self, plan: StepPlan) -> None:
        blocks, offsets = np.divmod(plan.slot_mapping, BLOCK_TOKENS)
        last = plan.context_lens - 1
        expect("offsets", offsets.tolist(), (last % BLOCK_TOKENS).tolist())
        expect("blocks", blocks.tolist(), plan.block_table[self._rows, last // BLOCK_TOKENS].tolist())
        expect("distinct slots", len(np.unique(plan.slot_mapping)), NUM_RUNNING)

    def _start_life(self) -> None:
        allocations = self._manager.pool.counts().num_allocations
        num_tokens = np.zeros(NUM_RUNNING, np.int32)
        for i, prompts in enumerate(self._prompts):
            admitted = self._manager.admit(f"running-{i}", prompts.next())
            self._rows[i] = admitted.row
            num_tokens[i] = len(prompts.tokens) - admitted.num_cached_tokens
        plan = self._manager.plan_step(self._rows, num_tokens)
        self._manager.commit_step(plan.step_id)
        self._steps_of_this_life = 0
        self._blocks_of_restarts += self._manager.pool.counts().num_allocations - allocations


class DecodeInFullPool(DecodeStep):
    """Row 3 in a pool that is full of cached sequences, so that every new block is evicted from one."""

    def __init__(self, usable_blocks: int) -> None:
        manager = new_manager(usable_blocks)
        fill(manager, DECODE_PROMPT_BLOCKS)
        super().__init__(manager, np.empty(0, np.int32))


class DecodeWithFlashInferArrays(DecodeInFullPool):
    """Row 4: the same step with the arrays that FlashInfer plans with."""

    def run(self) -> None:
        """One step: two calls, four arrays."""
        manager = self._manager
        plan = manager.plan_step(self._rows, self._ones)
        self._arrays = plan.slot_mapping, plan.kv_indptr, plan.kv_indices, plan.kv_last_page_len
        manager.commit_step(plan.step_id, token_ids=self._token_ids)

    def _check_plan(self, plan: StepPlan) -> None:
        super()._check_plan(plan)
        pages = -(-plan.context_lens // BLOCK_TOKENS)
        table = plan.block_table
        indices = np.concatenate([table[row, :count] for row, count in zip(self._rows, pages, strict=True)])
        expect("kv_indptr", plan.kv_indptr.tolist(), [0, *np.cumsum(pages).tolist()])
        expect("kv_indices", plan.kv_indices.tolist(), indices.tolist())
        expect(
            "kv_last_page_len", plan.kv_last_page_len.tolist(), ((plan.context_lens - 1) % BLOCK_TOKENS + 1).tolist()
        )
