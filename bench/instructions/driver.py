"""Runs under `valgrind --tool=callgrind`: the first three cases in one pool, with or without claims.

Usage: python -m bench.instructions.driver CLAIMS NUM_CLAIMS NUM_RUNS
CLAIMS is none (no claim at all), elsewhere, one (one on the path, the others elsewhere) or all (all on the path).

The pool always holds the same content and the victims are always of the same kind, so that only the claims differ.
"""

import gc
import sys
from typing import TYPE_CHECKING, Final

from bench.instructions.collection import Collection
from bench.shapes import BLOCK_TOKENS, DECODE_PROMPT_BLOCKS, NUM_RUNNING, REQUEST_BLOCKS
from bench.workloads.base import Workload, expect
from bench.workloads.decode import DecodeStep
from bench.workloads.pool import IDENTITY, Int32Array, new_manager, random_tokens, serve
from bench.workloads.requests import RequestLife
from residentkv import Accepted, BlockManager, ClaimSpec, ClaimState, LeadingPrefix

if TYPE_CHECKING:
    from collections.abc import Callable

_WARMUP_RUNS: Final = 8
_PATH: Final = random_tokens(REQUEST_BLOCKS * BLOCK_TOKENS)  # what claims on the path name
_HEAD: Final = _PATH[: 4 * BLOCK_TOKENS]  # what requests to admit and to decode share of it


class Nothing:
    """What counting itself costs."""

    def prepare(self) -> None:
        """Nothing."""

    def run(self) -> None:
        """Nothing."""

    def verify(self) -> None:
        """Nothing."""


def _full_pool(blocks: Int32Array) -> BlockManager:
    """A pool full of sequences of one block, `blocks` [num_sequences, block_size], and of the path."""
    manager = new_manager(len(blocks))
    for tokens in blocks:
        serve(manager, "filler", tokens)
    serve(manager, "path", _PATH)
    return manager


def _submit(manager: BlockManager, num_claims: int, num_on_path: int, others: Int32Array) -> None:
    """Claim the path, and cached blocks elsewhere."""
    for number in range(num_claims):
        tokens = _PATH if number < num_on_path else others[number]
        predicate = LeadingPrefix(len(tokens) // BLOCK_TOKENS)
        answer = manager.claims.submit(ClaimSpec(f"claim-{number}", "tenant", IDENTITY, tokens, predicate))
        assert isinstance(answer, Accepted), answer
    expect("materialized claims", sum(claim.state is ClaimState.MATERIALIZED for claim in manager.claims), num_claims)


def _num_evicted_blocks(num_runs: int) -> int:
    """Upper bound of what all cases evict: with so many blocks older than the path, it stays cached without a claim."""
    num_decode_blocks = DECODE_PROMPT_BLOCKS + 1 + num_runs // BLOCK_TOKENS + 1
    return num_runs * (REQUEST_BLOCKS + 1) + NUM_RUNNING * num_decode_blocks


def main() -> None:
    """Count each case, and nothing, each `NUM_RUNS` times."""
    claims, num_claims, num_runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    usable_blocks = 2 * num_claims + _num_evicted_blocks(_WARMUP_RUNS + num_runs)
    blocks = random_tokens(usable_blocks * BLOCK_TOKENS, seed=2).reshape(usable_blocks, BLOCK_TOKENS)
    manager = _full_pool(blocks)
    if claims != "none":
        num_on_path = {"elsewhere": 0, "one": 1, "all": num_claims}[claims]
        _submit(manager, num_claims, num_on_path, blocks[REQUEST_BLOCKS:])  # the path evicted the first ones
    cases: dict[str, Callable[[], Workload | Nothing]] = {
        "nothing": Nothing,
        "admit": lambda: RequestLife(manager, _HEAD, REQUEST_BLOCKS),
        "hit": lambda: RequestLife(manager, _PATH, 1),
        "decode": lambda: DecodeStep(manager, _HEAD),
    }
    gc.disable()
    collection = Collection()
    collection.start()
    for case, make in cases.items():
        workload = make()
        for _ in range(_WARMUP_RUNS):
            workload.prepare()
            workload.run()
        for _ in range(num_runs):
            workload.prepare()
            collection.toggle()
            workload.run()
            collection.toggle()
        collection.dump(case)
        workload.verify()


if __name__ == "__main__":
    main()
