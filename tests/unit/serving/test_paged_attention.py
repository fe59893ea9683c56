"""paged_attention against attention written out per request and per head, and its place in transformers."""

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

from residentkv.contract.errors import ContractError, UnsupportedEngineError
from residentkv.runtime.kv_storage import KVLayout, KVStorage, KVStorageOptions
from residentkv.serving.paged_attention import (
    ATTENTION_NAME,
    AttentionScale,
    PagedStep,
    paged_attention,
    register_attention,
)
from residentkv.serving.paged_batch import PagedBatch, make_paged_batch

NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE, USABLE = 6, 2, 8, 4, 20
CPU = torch.device("cpu")


class Requests:
    """Requests with random KV, scattered over the pool, and their queries for the last `num_tokens` tokens of each."""

    def __init__(self, num_tokens: list[int], context_lens: list[int], *, layout: KVLayout = KVLayout.NHD) -> None:
        generator = torch.Generator().manual_seed(3)
        self.num_tokens, self.context_lens = num_tokens, context_lens
        self.storage = KVStorage(
            KVStorageOptions(1, NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE, USABLE, layout=layout), device=CPU
        )
        blocks = np.random.default_rng(3).permutation(USABLE).astype(np.int32) + 1
        self.tables = []
        for length in context_lens:
            count = -(-length // BLOCK_SIZE)
            self.tables.append(blocks[:count])
            blocks = blocks[count:]
        shape = (NUM_KV_HEADS, HEAD_DIM)
        self.keys = [torch.randn(length, *shape, generator=generator) for length in context_lens]
        self.values = [torch.randn(length, *shape, generator=generator) for length in context_lens]
        self.query = torch.randn(sum(num_tokens), NUM_HEADS, HEAD_DIM, generator=generator)
        for table, keys, values in zip(self.tables, self.keys, self.values, strict=True):
            everything = self._batch([table], [len(keys)], [len(keys)])
            self.storage.write(0, keys, values, everything.slots)

    @staticmethod
    def _batch(tables: list[np.ndarray], num_tokens: list[int], context_lens: list[int]) -> PagedBatch:
        return make_paged_batch(
            tables, num_tokens=num_tokens, context_lens=context_lens, block_size=BLOCK_SIZE, device=CPU
        )

    def attend(self, scale: AttentionScale) -> torch.Tensor:
        batch = self._batch(self.tables, self.num_tokens, self.context_lens)
        return paged_attention(self.query, 0, PagedStep(self.storage, batch), scale)

    def expected(self, scale: AttentionScale) -> torch.Tensor:
        rows = []
        queries = iter(self.query.double())
        for keys, values, new, length in zip(self.keys, self.values, self.num_tokens, self.context_lens, strict=True):
            for position in range(length - new, length):
                first = 0 if scale.window is None else max(0, position - scale.window + 1)
                query, heads = next(queries), []
                for head in range(NUM_HEADS):
                    shared = head // (NUM_HEADS // NUM_KV_HEADS)
                    seen = slice(first, position + 1)
                    weights = (keys[seen, shared].double() @ query[head] * scale.factor).softmax(0)
                    heads.append(weights @ values[seen, shared].double())
                rows.append(torch.stack(heads))
        return torch.stack(rows).float()


@pytest.mark.parametrize("layout", KVLayout)
@pytest.mark.parametrize("window", [None, 3, 1])
@pytest.mark.parametrize(
    ("num_tokens", "context_lens"),
    [
        ([7], [7]),  # a whole prompt
        ([5], [11]),  # its last chunk
        ([1], [9]),  # a decode
        ([1, 1, 1], [9, 1, 14]),  # decodes of different lengths
        ([4, 1, 6, 1], [4, 13, 10, 5]),  # everything at once
    ],
)
def test_agrees_with_attention_written_out(
    num_tokens: list[int], context_lens: list[int], window: int | None, layout: KVLayout
) -> None:
    requests = Requests(num_tokens, context_lens, layout=layout)
    scale = AttentionScale(0.31, window)
    output = requests.attend(scale)
    assert output.is_contiguous()
    torch.testing.assert_close(output, requests.expected(scale), rtol=1e-5, atol=1e-5)


def test_a_request_whose_kv_is_nan_harms_nobody_else() -> None:
    requests = Requests([4, 1, 1], [9, 5, 14])
    healthy = requests.attend(AttentionScale(0.3))
    ruined = requests._batch([requests.tables[1]], [5], [5]).slots
    nan = torch.full((5, NUM_KV_HEADS, HEAD_DIM), torch.nan)
    requests.storage.write(0, nan, nan, ruined)
    requests.storage.key_blocks(0)[0] = torch.nan  # the null block
    requests.storage.value_blocks(0)[0] = torch.nan
    output = requests.attend(AttentionScale(0.3))
    assert output[4].isnan().all()
    assert torch.equal(output[[0, 1, 2, 3, 5]], healthy[[0, 1, 2, 3, 5]])


def test_stale_kv_behind_the_context_is_not_read() -> None:
    requests = Requests([3, 1], [7, 9])
    before = requests.attend(AttentionScale(0.3))
    for table, length in zip(requests.tables, requests.context_lens, strict=True):
        offset = length % BLOCK_SIZE
        requests.storage.key_blocks(0)[int(table[-1]), offset:] = torch.nan
        requests.storage.value_blocks(0)[int(table[-1]), offset:] = torch.nan
    assert torch.equal(requests.attend(AttentionScale(0.3)), before)


def tiny_model() -> LlamaForCausalLM:
    register_attention()
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=NUM_HEADS * HEAD_DIM,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=NUM_HEADS,
        num_key_value_heads=NUM_KV_HEADS,
        attn_implementation=ATTENTION_NAME,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


@torch.inference_mode()
def test_transformers_hands_the_step_down_to_every_layer() -> None:
    model, prompt = tiny_model(), torch.tensor([[3, 1, 4, 1, 5, 9, 2]])
    requests = Requests([7], [7])
    step = PagedStep(requests.storage, requests._batch(requests.tables, [7], [7]))
    requests.storage.key_blocks(0).zero_()
    paged = model(input_ids=prompt, position_ids=step.batch.positions[None], use_cache=False, paged_step=step).logits
    assert requests.storage.key_blocks(0)[int(requests.tables[0][0])].any()
    model.set_attn_implementation("eager")
    torch.testing.assert_close(paged, model(input_ids=prompt, use_cache=False).logits, rtol=1e-5, atol=1e-5)


def test_registering_twice_is_fine() -> None:
    register_attention()
    register_attention()
    assert ATTENTION_NAME in AttentionInterface()


@torch.inference_mode()
def test_a_forward_call_without_a_step_is_refused() -> None:
    with pytest.raises(ContractError, match="needs paged_step"):
        tiny_model()(input_ids=torch.tensor([[1, 2]]))


@torch.inference_mode()
def test_a_batch_of_rows_is_refused() -> None:
    requests = Requests([2], [2])
    step = PagedStep(requests.storage, requests._batch(requests.tables, [2], [2]))
    with pytest.raises(ContractError, match="got a batch of 2"):
        tiny_model()(input_ids=torch.tensor([[1, 2], [3, 4]]), use_cache=False, paged_step=step)


@pytest.mark.parametrize("name", ["softcap", "s_aux", "position_bias"])
@torch.inference_mode()
def test_attention_that_ours_is_not_is_refused_by_name(name: str) -> None:
    requests = Requests([2], [2])
    step = PagedStep(requests.storage, requests._batch(requests.tables, [2], [2]))
    with pytest.raises(UnsupportedEngineError, match=name):
        tiny_model()(input_ids=torch.tensor([[1, 2]]), use_cache=False, paged_step=step, **{name: 1.0})
