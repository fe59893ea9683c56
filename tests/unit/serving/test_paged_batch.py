"""make_paged_batch against slots worked out one token at a time."""

import numpy as np
import pytest
import torch

from residentkv.contract.errors import ContractError
from residentkv.serving.paged_batch import PagedBatch, make_paged_batch

BLOCK_SIZE = 4
CPU = torch.device("cpu")


def table(*blocks: int) -> np.ndarray:
    return np.array(blocks, dtype=np.int32)


def slot(blocks: np.ndarray, position: int) -> int:
    return int(blocks[position // BLOCK_SIZE]) * BLOCK_SIZE + position % BLOCK_SIZE


def make(tables: list[np.ndarray], num_tokens: list[int], context_lens: list[int]) -> PagedBatch:
    return make_paged_batch(tables, num_tokens=num_tokens, context_lens=context_lens, block_size=BLOCK_SIZE, device=CPU)


def test_every_index_of_a_mixed_step() -> None:
    # a decode, a middle chunk of a prompt, a first chunk, a decode of the very first token
    tables = [table(9, 2, 7), table(3, 8, 1), table(5, 6), table(4)]
    num_tokens, context_lens = [1, 5, 6, 1], [9, 11, 6, 1]
    batch = make(tables, num_tokens, context_lens)

    expected = [
        (slot(blocks, position), position)
        for blocks, new, length in zip(tables, num_tokens, context_lens, strict=True)
        for position in range(length - new, length)
    ]
    assert batch.num_tokens == 13
    assert list(zip(batch.slots.tolist(), batch.positions.tolist(), strict=True)) == expected
    assert batch.last_tokens.tolist() == [0, 5, 11, 12]

    assert [(part.begin, part.end) for part in batch.prefills] == [(1, 6), (6, 12)]
    assert batch.prefills[0].slots.tolist() == [slot(tables[1], position) for position in range(11)]
    assert batch.prefills[1].slots.tolist() == [slot(tables[2], position) for position in range(6)]

    assert batch.decodes is not None
    assert batch.decodes.queries.tolist() == [0, 12]
    assert batch.decodes.context_lens.tolist() == [9, 1]
    first, second = batch.decodes.slots.tolist()
    assert first == [slot(tables[0], position) for position in range(9)]
    assert second == [slot(tables[3], 0)] * 9  # padding is the request's own first slot


def test_a_step_of_prefills_has_no_decodes_and_the_reverse() -> None:
    assert make([table(1)], [3], [3]).decodes is None
    assert make([table(1)], [1], [3]).prefills == ()


def test_tables_may_be_wider_than_the_context_and_are_copied() -> None:
    blocks = table(2, 3, 99, 99)
    batch = make([blocks], [2], [6])
    blocks[:] = 0
    assert batch.slots.tolist() == [12, 13]
    assert batch.prefills[0].slots.tolist() == [8, 9, 10, 11, 12, 13]


@pytest.mark.parametrize(
    ("tables", "num_tokens", "context_lens", "message"),
    [
        ([], [], [], "0 block tables"),
        ([table(1)], [1, 1], [1], "2 counts"),
        ([table(1)], [0], [1], "num_tokens=0"),
        ([table(1)], [3], [2], "num_tokens=3"),
        ([table(1)], [1], [5], "1 blocks of 4 does not hold 5"),
    ],
)
def test_bad_counts_are_refused(
    tables: list[np.ndarray], num_tokens: list[int], context_lens: list[int], message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        make(tables, num_tokens, context_lens)
