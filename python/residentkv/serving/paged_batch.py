"""Where the tokens of one step live: the index tensors of paged attention, made once a step, used by every layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from residentkv.contract.errors import ContractError

Int32Array = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PrefillPart:
    """One request with several new tokens: the queries [begin, end) of the flattened step.

    Attributes
    ----------
    slots : `[context_len]` int64, the slot of every token of the request up to this step, this step's included.
    """

    begin: int
    end: int
    slots: torch.Tensor


@dataclass(frozen=True, slots=True)
class DecodePart:
    """All requests with one new token, padded to the longest context.

    Attributes
    ----------
    queries : `[batch]` int64, their places in the flattened step.
    slots : `[batch, longest]` int64. Padding repeats the request's own first slot, never another request's and never
        the null block:
        masked weights are zero, but zero times a NaN out of a stranger's KV is NaN.
    context_lens : `[batch]` int64, tokens of each request, this step's included.
    """

    queries: torch.Tensor
    slots: torch.Tensor
    context_lens: torch.Tensor


@dataclass(frozen=True, slots=True)
class PagedBatch:
    """One flattened step: the tokens of all requests behind one another, `num_tokens` in all.

    Attributes
    ----------
    slots : `[num_tokens]` int64, where the KV of each token goes.
    positions : `[num_tokens]` int64, each token's place in its request.
    last_tokens : `[batch]` int64, the place of each request's last token in the flattened step, in batch order.
    """

    slots: torch.Tensor
    positions: torch.Tensor
    last_tokens: torch.Tensor
    prefills: tuple[PrefillPart, ...]
    decodes: DecodePart | None

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole step."""
        return self.slots.shape[0]


def make_paged_batch(
    block_tables: Sequence[Int32Array],
    *,
    num_tokens: Sequence[int],
    context_lens: Sequence[int],
    block_size: int,
    device: torch.device,
) -> PagedBatch:
    """Index tensors for one step. Copies what it needs, so rotating buffers may be passed. O(context tokens).

    Parameters
    ----------
    block_tables : per request, `[>= blocks(context_len)]` int32 block ids, this step's blocks included.
    num_tokens : per request, its new tokens, > 0.
    context_lens : per request, all its tokens including the new ones, >= num_tokens.
    block_size : tokens per block.
    device : where the model and the storage live.

    Raises
    ------
    ContractError : lists of different lengths, no request, counts out of range, or a block table that is too short.
    """
    if not 0 < len(block_tables) == len(num_tokens) == len(context_lens):
        raise ContractError(f"{len(block_tables)} block tables, {len(num_tokens)} counts, {len(context_lens)} contexts")
    contexts = []
    for table, new, context_len in zip(block_tables, num_tokens, context_lens, strict=True):
        if not 0 < new <= context_len:
            raise ContractError(f"num_tokens={new} outside [1, context_len={context_len}]")
        if len(table) * block_size < context_len:
            raise ContractError(
                f"a block table of {len(table)} blocks of {block_size} does not hold {context_len} tokens"
            )
        contexts.append(_context_slots(table, context_len, block_size))

    ends = np.cumsum(num_tokens)
    new_slots = [context[-new:] for context, new in zip(contexts, num_tokens, strict=True)]
    positions = [np.arange(length - new, length) for length, new in zip(context_lens, num_tokens, strict=True)]
    prefills = tuple(
        PrefillPart(int(end) - new, int(end), _to_device(context, device))
        for context, new, end in zip(contexts, num_tokens, ends, strict=True)
        if new > 1
    )
    decoding = [index for index, new in enumerate(num_tokens) if new == 1]
    return PagedBatch(
        slots=_to_device(np.concatenate(new_slots), device),
        positions=_to_device(np.concatenate(positions), device),
        last_tokens=_to_device(ends - 1, device),
        prefills=prefills,
        decodes=_decode_part([contexts[index] for index in decoding], ends[decoding] - 1, device) if decoding else None,
    )


def _context_slots(table: Int32Array, context_len: int, block_size: int) -> NDArray[np.int64]:
    num_blocks = -(-context_len // block_size)
    first_slots = table[:num_blocks].astype(np.int64) * block_size
    return (first_slots[:, None] + np.arange(block_size)).reshape(-1)[:context_len]


def _decode_part(contexts: list[NDArray[np.int64]], queries: NDArray[np.int64], device: torch.device) -> DecodePart:
    lens = np.array([len(context) for context in contexts], dtype=np.int64)
    slots = np.repeat(np.array([[context[0]] for context in contexts]), lens.max(), axis=1)
    for row, context in zip(slots, contexts, strict=True):
        row[: len(context)] = context
    return DecodePart(_to_device(queries, device), _to_device(slots, device), _to_device(lens, device))


def _to_device(array: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
