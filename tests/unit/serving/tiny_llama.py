"""A random Llama with grouped-query attention and a tokenizer of letters: small enough to make in every session."""

from pathlib import Path
from string import printable

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

STOP_ID = 2
_NUM_SPECIAL = 3
VOCAB_SIZE = _NUM_SPECIAL + len(printable)


def save_tiny_llama(folder: Path, **config_changes: object) -> Path:
    """Write model and tokenizer into `folder`, as `from_pretrained` reads them. Same seed, same weights."""
    config = LlamaConfig(
        **{
            "vocab_size": VOCAB_SIZE,
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "initializer_range": 0.5,  # large, so that argmax is decided by far more than rounding
            "eos_token_id": STOP_ID,
            **config_changes,
        }
    )
    torch.manual_seed(5)
    LlamaForCausalLM(config).save_pretrained(folder)
    ids = {f"<{number}>": number for number in range(_NUM_SPECIAL)}
    ids |= {letter: _NUM_SPECIAL + number for number, letter in enumerate(printable)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<0>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<0>").save_pretrained(folder)
    return folder
