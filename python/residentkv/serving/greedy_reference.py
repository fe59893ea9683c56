"""The yardstick for paged decoding: transformers' own attention and its own DynamicCache, one request at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch

from residentkv.serving.model_loading import LoadedModel
from residentkv.serving.paged_attention import ATTENTION_NAME

_REFERENCE_ATTENTION: Final = "sdpa"


@torch.inference_mode()
def greedy_reference(loaded: LoadedModel, prompt: Sequence[int], *, max_new_tokens: int) -> list[int]:
    """Tokens that greedy decoding with DynamicCache generates for `prompt`, up to and including a stop token.

    Parameters
    ----------
    loaded : the model; its attention is exchanged during the call only.
    prompt : token ids, at least one.
    max_new_tokens : > 0.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=loaded.model.config)
    inputs = torch.tensor([list(prompt)], device=loaded.device)
    generated: list[int] = []
    with _own_attention(loaded.model):
        while len(generated) < max_new_tokens:
            output = loaded.model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
            token = int(output.logits[0, -1].argmax())
            generated.append(token)
            if token in loaded.stop_ids:
                break
            inputs = torch.tensor([[token]], device=loaded.device)
    return generated


@contextmanager
def _own_attention(model: Any) -> Iterator[None]:
    model.set_attn_implementation(_REFERENCE_ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(ATTENTION_NAME)
