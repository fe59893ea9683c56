"""Whatever the pool does to a request (cut, share, preempt, fork), its tokens are those of transformers' own cache."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from residentkv.serving.greedy_reference import greedy_reference
from residentkv.serving.model_loading import LoadedModel, check_supported
from residentkv.serving.model_runner import ModelRunner
from residentkv.serving.paged_attention import ATTENTION_NAME, register_attention
from residentkv.serving.serving_loop import ServingLoop
from residentkv.serving.serving_request import Finished, Preempted, ServingRequest
from tests.unit.serving.serving_bench import Bench
from tests.unit.serving.tiny_llama import VOCAB_SIZE


def prompt(seed: int, length: int) -> list[int]:
    return np.random.default_rng(seed).integers(3, VOCAB_SIZE, length).tolist()


def requests_of(prompts: list[list[int]], new_tokens: int) -> list[ServingRequest]:
    return [ServingRequest(f"r{number}", tokens, new_tokens) for number, tokens in enumerate(prompts)]


def expected(loaded: LoadedModel, prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
    endless = LoadedModel(loaded.model, loaded.tokenizer, loaded.model_id, frozenset())
    return [greedy_reference(endless, tokens, max_new_tokens=new_tokens) for tokens in prompts]


LENGTHS = [1, 3, 4, 5, 8, 17, 33, 60]  # around block boundaries, one token, many blocks


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("max_tokens_per_step", [8, 13, 29, 500])
def test_mixed_batches_with_odd_chunks(tiny_llama: LoadedModel, block_size: int, max_tokens_per_step: int) -> None:
    prompts = [prompt(seed, length) for seed, length in enumerate(LENGTHS)]
    bench = Bench(tiny_llama, usable_blocks=320, block_size=block_size, max_tokens_per_step=max_tokens_per_step)
    assert bench.served(*requests_of(prompts, 12)) == expected(tiny_llama, prompts, 12)


def test_a_random_model_says_something_worth_comparing(tiny_llama: LoadedModel) -> None:
    prompts = [prompt(seed, length) for seed, length in enumerate(LENGTHS)]
    answers = expected(tiny_llama, prompts, 12)
    assert len({tuple(answer) for answer in answers}) == len(answers)
    assert min(len(set(answer)) for answer in answers) > 2


def test_a_shared_prefix_is_computed_once(tiny_llama: LoadedModel) -> None:
    prefix = prompt(100, 22)
    prompts = [prefix + prompt(seed, 3 + seed) for seed in range(5)]
    bench = Bench(tiny_llama, usable_blocks=60)
    first, *others = requests_of(prompts, 8)
    answers = bench.served(first) + bench.served(*others)
    assert answers == expected(tiny_llama, prompts, 8)
    assert [request.num_cached_tokens for request in (first, *others)] == [0, 20, 20, 20, 20]
    assert first.num_computed_tokens == len(prompts[0]) + 7
    assert others[0].num_computed_tokens == len(prompts[1]) - 20 + 7


def test_the_next_turn_of_a_conversation_reuses_question_and_answer(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=60)
    conversation = prompt(3, 9)
    for turn in range(4):
        request = ServingRequest(f"turn-{turn}", conversation, 7)
        assert bench.served(request) == expected(tiny_llama, [conversation], 7)
        # Nine tokens at first, then those of the last turn: all but the last generated one, in full blocks.
        written = 0 if turn == 0 else len(conversation) - 2 - 1
        assert request.num_cached_tokens == written // 4 * 4
        conversation = [*request.tokens, *prompt(50 + turn, 2)]


def test_the_same_prompt_at_the_same_time(tiny_llama: LoadedModel) -> None:
    """Both compute it; committing the second finds the first's blocks and replaces its own in mid-flight."""
    same = prompt(7, 30)
    bench = Bench(tiny_llama, usable_blocks=60, max_tokens_per_step=16)
    answers = bench.served(*requests_of([same, same, same], 15))
    assert answers == expected(tiny_llama, [same], 15) * 3


def test_preempted_requests_resume_where_they_were(tiny_llama: LoadedModel) -> None:
    prompts = [prompt(seed, 9) for seed in range(4)]
    # Each needs 3 blocks for its prompt and 10 at its peak: four fit at first, and not for long.
    bench = Bench(tiny_llama, usable_blocks=14)
    requests = requests_of(prompts, 30)
    assert bench.served(*requests) == expected(tiny_llama, prompts, 30)
    preempted = bench.of_kind(Preempted)
    assert preempted
    assert {event.request_id for event in preempted} <= {"r1", "r2", "r3"}  # never the oldest
    assert sum(request.num_preemptions for request in requests) == len(preempted)


def test_preemption_in_the_middle_of_a_prompt(tiny_llama: LoadedModel) -> None:
    """The first request grows while the second is still in its long prompt, cut into small chunks."""
    prompts = [prompt(0, 6), prompt(1, 30)]
    bench = Bench(tiny_llama, usable_blocks=10, max_tokens_per_step=3)
    requests = requests_of(prompts, 10)
    requests[0].max_new_tokens = 20
    assert bench.served(*requests) == [*expected(tiny_llama, prompts[:1], 20), *expected(tiny_llama, prompts[1:], 10)]
    assert requests[1].num_preemptions > 0


def test_invalidated_blocks_are_computed_again(tiny_llama: LoadedModel) -> None:
    prompts = [prompt(seed, 18) for seed in range(3)]
    bench = Bench(tiny_llama, usable_blocks=60)
    requests = requests_of(prompts, 12)
    bench.submit(*requests)
    bench.step_until(lambda: len(requests[0].generated) == 5)
    bad = bench.manager.pool.request("r1").block_ids[2:3]
    for layer in range(2):
        bench.storage.key_blocks(layer)[int(bad[0])] = torch.nan
    bench.loop.requeue(bench.manager.invalidate(bad, cause="checksum"))
    assert [request.request_id for request in bench.loop.running] == ["r0", "r2"]
    assert bench.served() == []
    assert [request.generated for request in requests] == expected(tiny_llama, prompts, 12)
    assert requests[1].num_preemptions == 1


@pytest.mark.parametrize("prompt_length", [9, 10, 11, 12])  # every fill of the shared last block
def test_a_fork_continues_its_own_way(tiny_llama: LoadedModel, prompt_length: int) -> None:
    """Parent and child write different tokens into what was one partial block; a missing copy would mix them."""
    parent = ServingRequest("parent", prompt(5, prompt_length), 14)
    bench = Bench(tiny_llama, usable_blocks=60)
    bench.submit(parent)
    bench.step_until(lambda: len(parent.generated) == 5)
    before = list(parent.tokens)
    children = []
    for number in range(3):
        next_token = (before[-1] + 7 * (number + 1)) % VOCAB_SIZE
        child = bench.loop.fork("parent", f"child{number}", next_token=next_token)
        assert isinstance(child, ServingRequest)
        children.append((child, [*before[:-1], next_token]))
    bench.served()
    assert parent.generated == expected(tiny_llama, [list(parent.prompt)], 14)[0]
    for child, start in children:
        assert child.tokens[: len(start)] == start
        assert child.tokens[len(start) :] == expected(tiny_llama, [start], 9)[0]
        assert child.num_computed_tokens == len(child.tokens) - len(before)


def test_an_admitted_request_outside_the_loop_keeps_its_kv(tiny_llama: LoadedModel) -> None:
    """Two loops' worth of churn around a request that stands still: nobody writes into its blocks."""
    still, churn = ServingRequest("still", prompt(1, 10), 20), [prompt(seed, 12) for seed in range(10, 22)]
    bench = Bench(tiny_llama, usable_blocks=16)
    bench.submit(still)
    bench.step_until(lambda: len(still.generated) == 3)
    held = bench.manager.pool.request("still").block_ids
    before = bench.storage.key_blocks(1)[held.tolist()].clone()
    other_loop = ServingLoop(bench.manager, ModelRunner(tiny_llama, bench.storage))
    for number, tokens in enumerate(churn):
        other_loop.submit(ServingRequest(f"c{number}", tokens, 6))
    assert sum(isinstance(event, Finished) for event in other_loop.run()) == len(churn)
    assert torch.equal(bench.storage.key_blocks(1)[held.tolist()], before)
    bench.served()
    assert still.generated == expected(tiny_llama, [list(still.prompt)], 20)[0]


@pytest.mark.parametrize(
    "family",
    [
        ("mistral", {"sliding_window": 9}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}),  # one layer of each kind
        ("qwen3", {"head_dim": 16}),
        ("gemma", {"head_dim": 16, "num_key_value_heads": 1}),
    ],
    ids=lambda family: family[0],
)
def test_other_families_with_and_without_a_window(family: tuple[str, dict[str, object]]) -> None:
    model_type, changes = family
    shape = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "initializer_range": 0.5,
    }
    config = AutoConfig.for_model(model_type, **{**shape, **changes})
    check_supported(config)
    register_attention()
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION_NAME).eval()
    loaded = LoadedModel(model, None, model_type, frozenset())
    prompts = [prompt(seed, length) for seed, length in enumerate(LENGTHS)]
    bench = Bench(loaded, usable_blocks=80, max_tokens_per_step=13)
    answers = bench.served(*requests_of(prompts, 12))
    assert answers == expected(loaded, prompts, 12)
    assert len({tuple(answer) for answer in answers}) > 4


QUESTIONS = ["What is the capital of France?", "Name three colours.", "Write one line about the sea."]


def test_smollm2_answers_chats_as_with_its_own_cache(smollm2: LoadedModel) -> None:
    system = "You are a helpful assistant who answers in one short sentence and never uses more words than needed."
    prompts = []
    for question in QUESTIONS:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        text = smollm2.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompts.append(smollm2.tokenizer(text)["input_ids"])
    bench = Bench(smollm2, usable_blocks=40, block_size=8, max_tokens_per_step=23)
    requests = [ServingRequest(f"chat-{number}", tokens, 12, smollm2.stop_ids) for number, tokens in enumerate(prompts)]
    answers = bench.served(*requests)
    assert answers == [greedy_reference(smollm2, tokens, max_new_tokens=12) for tokens in prompts]
    assert "Paris" in smollm2.tokenizer.decode(answers[0])
