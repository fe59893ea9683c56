"""Attention over paged KV in plain torch operations, and its registration with transformers.

Right on every device and easy to check: the yardstick for faster kernels. It gathers each request's KV, so a step reads
its context once from the pool and once from the copy.

Note [How the batch reaches attention]: transformers hands unknown keyword arguments of a model's forward call down to
the attention function, which is how its own paged attention gets its cache. The step travels that way as `paged_step`,
an argument of one call; nothing global is set, so two models may run side by side. The name is registered with
`AttentionInterface` and has no mask function, hence transformers builds no mask either ("custom attention without
equivalent mask creation" in masking_utils.py).
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.nn.functional import scaled_dot_product_attention

from residentkv.contract.errors import ContractError, UnsupportedEngineError
from residentkv.runtime.kv_storage import KVStorage
from residentkv.serving.paged_batch import DecodePart, PagedBatch, PrefillPart

ATTENTION_NAME: Final = "residentkv_paged"

# Arguments by which transformers asks for attention that this one is not.
_UNSUPPORTED: Final = ("softcap", "s_aux", "position_bias")


@dataclass(frozen=True, slots=True)
class PagedStep:
    """What one forward call passes to every layer's attention."""

    storage: KVStorage
    batch: PagedBatch


@dataclass(frozen=True, slots=True)
class AttentionScale:
    """How scores become weights: `factor` multiplies them; a query sees the last `window` tokens (None: all)."""

    factor: float
    window: int | None = None


def paged_attention(query: torch.Tensor, layer: int, step: PagedStep, scale: AttentionScale) -> torch.Tensor:
    """Attend from each new token to itself and all earlier ones of its request. The step's KV must be written already.

    Parameters
    ----------
    query : `[num_tokens, num_heads, head_dim]`; num_heads a multiple of the storage's num_kv_heads (grouped-query
        attention).
    layer : whose KV to read.

    Returns
    -------
    `[num_tokens, num_heads, head_dim]`, contiguous, as `query` in dtype and device.
    """
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    for part in step.batch.prefills:
        output[part.begin : part.end] = _attend_prefill(query[part.begin : part.end], layer, part, step.storage, scale)
    if step.batch.decodes is not None:
        decodes = step.batch.decodes
        output[decodes.queries] = _attend_decodes(query[decodes.queries], layer, decodes, step.storage, scale)
    return output


def _attend_prefill(
    query: torch.Tensor, layer: int, part: PrefillPart, storage: KVStorage, scale: AttentionScale
) -> torch.Tensor:
    keys, values = storage.gather(layer, part.slots)
    num_queries, context_len = query.shape[0], keys.shape[0]
    is_whole_prompt = num_queries == context_len and scale.window is None
    mask = None if is_whole_prompt else _chunk_mask(num_queries, context_len, scale.window, query.device)
    attended = scaled_dot_product_attention(
        query.transpose(0, 1)[None],
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        attn_mask=mask,
        is_causal=is_whole_prompt,
        scale=scale.factor,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1)


def _attend_decodes(
    query: torch.Tensor, layer: int, part: DecodePart, storage: KVStorage, scale: AttentionScale
) -> torch.Tensor:
    batch, longest = part.slots.shape
    num_kv_heads, head_dim = storage.options.num_kv_heads, storage.options.head_dim
    keys, values = storage.gather(layer, part.slots.flatten())
    positions = torch.arange(longest, device=query.device)
    mask = positions < part.context_lens[:, None]
    if scale.window is not None:
        mask &= positions >= part.context_lens[:, None] - scale.window
    # The heads that share a KV head become its queries: no copy of the keys per head.
    attended = scaled_dot_product_attention(
        query.reshape(batch, num_kv_heads, -1, head_dim),
        keys.view(batch, longest, num_kv_heads, head_dim).transpose(1, 2),
        values.view(batch, longest, num_kv_heads, head_dim).transpose(1, 2),
        attn_mask=mask[:, None, None, :],
        scale=scale.factor,
    )
    return attended.reshape(batch, -1, head_dim)


def _chunk_mask(num_queries: int, context_len: int, window: int | None, device: torch.device) -> torch.Tensor:
    """`[num_queries, context_len]` bool. Queries are the last tokens of the context and see what is not behind them."""
    keys = torch.arange(context_len, device=device)
    queries = keys[context_len - num_queries :, None]
    mask = keys <= queries
    if window is not None:
        mask &= keys > queries - window
    return mask


def _transformers_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 (always None, see the note above)
    *,
    scaling: float,
    paged_step: PagedStep | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Write the step's KV of one layer and attend. The signature is what transformers calls.

    query, key, value are `[1, heads, num_tokens, head_dim]`; the result is `[1, num_tokens, num_heads, head_dim]`.
    """
    if paged_step is None:
        raise ContractError(f"attention {ATTENTION_NAME!r} needs paged_step=PagedStep(...) in the forward call")
    for name in _UNSUPPORTED:
        if others.get(name) is not None:
            raise UnsupportedEngineError(
                found=f"a model that passes {name} to attention", wanted="a Llama-family model"
            )
    if query.shape[0] != 1:
        raise ContractError(f"paged attention takes one flattened row of tokens, got a batch of {query.shape[0]}")
    layer = module.layer_idx
    assert isinstance(layer, int)
    paged_step.storage.write(layer, key[0].transpose(0, 1), value[0].transpose(0, 1), paged_step.batch.slots)
    output = paged_attention(query[0].transpose(0, 1), layer, paged_step, AttentionScale(scaling, sliding_window))
    return output[None], None


def register_attention() -> None:
    """Make ATTENTION_NAME known to transformers in this process. Doing it again changes nothing."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION_NAME, _transformers_attention)
