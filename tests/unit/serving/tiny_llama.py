"""A random Llama with grouped-query attention and a word tokenizer: small enough to make in every test session."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCAB_SIZE, STOP_ID = 64, 2


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
    words = {f"w{number}": number for number in range(VOCAB_SIZE)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0").save_pretrained(folder)
    return folder
