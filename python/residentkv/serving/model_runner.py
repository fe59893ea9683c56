"""Run one planned step through the model: block copies, KV writes and attention, each request's next token."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from residentkv.contract.errors import ContractError
from residentkv.runtime.kv_storage import KVStorage
from residentkv.serving.model_loading import LoadedModel
from residentkv.serving.paged_attention import PagedStep
from residentkv.serving.paged_batch import make_paged_batch

Int32Array = NDArray[np.int32]


class PlannedStep(Protocol):
    """What running a step needs of the manager's `StepPlan`; anything that has this can be run."""

    @property
    def step_id(self) -> int:
        """What commit and fail call it."""

    @property
    def num_tokens(self) -> int:
        """New tokens of all requests together."""

    @property
    def rows(self) -> Int32Array:
        """`[batch]`, the requests' rows in the block table."""

    @property
    def block_table(self) -> Int32Array:
        """`[max_requests, max_blocks_per_request]`, indexed by row."""

    @property
    def context_lens(self) -> Int32Array:
        """`[batch]`, tokens of each request, this step's included."""

    @property
    def copies(self) -> Int32Array:
        """`[num_copies, 2]`, (source block, target block), to copy before anything is written."""


class ModelRunner:
    """A model and the storage its KV lives in. Holds no state between steps: everything a step needs is in its plan.

    Raises
    ------
    ContractError : model and storage live on different devices.
    """

    def __init__(self, loaded: LoadedModel, storage: KVStorage) -> None:
        if loaded.device != storage.device:
            raise ContractError(f"the model lives on {loaded.device}, the storage on {storage.device}")
        self._model = loaded.model
        self._storage = storage

    @torch.inference_mode()
    def run(self, plan: PlannedStep, token_ids: Int32Array, num_tokens: Sequence[int]) -> list[int]:
        """Compute the step's tokens, write their KV where the plan says, and choose each request's next token greedily.

        Parameters
        ----------
        plan : the planned step.
        token_ids : `[plan.num_tokens]` int32, the step's input tokens, in batch order.
        num_tokens : per row of the plan, how many of them are its own.

        Returns
        -------
        One token id per row, in batch order. It means something only for a row whose last known token was in this step.
        """
        assert len(token_ids) == sum(num_tokens) == plan.num_tokens
        self._storage.copy_blocks(plan.copies)
        batch = make_paged_batch(
            [plan.block_table[row] for row in plan.rows],
            num_tokens=num_tokens,
            context_lens=plan.context_lens.tolist(),
            block_size=self._storage.options.block_size,
            device=self._storage.device,
        )
        output = self._model(
            input_ids=torch.from_numpy(token_ids.astype(np.int64)).to(self._storage.device)[None],
            position_ids=batch.positions[None],
            use_cache=False,
            logits_to_keep=batch.last_tokens,
            paged_step=PagedStep(self._storage, batch),
        )
        next_tokens: list[int] = output.logits[0].argmax(dim=-1).tolist()
        return next_tokens
