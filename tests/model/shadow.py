"""The KV memory of a model that runs every planned step: what is really in each slot."""

import numpy as np
from numpy.typing import NDArray

from residentkv import _core
from tests.model.contents import Content


class Shadow:
    """Slots are checked against storage of `rows` blocks: `0 <= id < rows` everywhere."""

    def __init__(self, rows: int, first_block: int, block_size: int) -> None:
        self._rows = rows
        self._first = first_block
        self._size = block_size
        self._content: dict[int, Content] = {}

    def read(self, table: list[int], num_tokens: int) -> list[Content | None]:
        """What a kernel sees at the first `num_tokens` positions of a row."""
        return [self._content.get(table[p // self._size] * self._size + p % self._size) for p in range(num_tokens)]

    def copy(self, pairs: list[tuple[int, int]]) -> None:
        for source, target in pairs:
            assert self._first <= source < self._rows
            assert self._first <= target < self._rows
            assert source != target
            for offset in range(self._size):
                self._content[target * self._size + offset] = self._content.get(source * self._size + offset, -1)

    def overwrite(self, slots: list[int], contents: list[Content]) -> None:
        for slot, content in zip(slots, contents, strict=True):
            self._content[slot] = content

    def spoil(self, slots: list[int]) -> None:
        """The step failed somewhere: whatever it was to write may hold anything now."""
        self.overwrite(slots, [-1] * len(slots))

    def launches(self, plan: _core.StepPlan, counts: list[int]) -> list[tuple[list[int], list[int]]]:
        """Table and slots of every row of `plan`, after checking that the arrays agree with each other."""
        rows, context_lens = plan.rows.tolist(), plan.context_lens.tolist()
        slots: list[int] = plan.slot_mapping.tolist()
        indptr, indices, last = plan.kv_indptr.tolist(), plan.kv_indices.tolist(), plan.kv_last_page_len.tolist()
        assert plan.num_tokens == len(slots) == sum(counts)
        result = []
        begin = 0
        for i, (row, count, length) in enumerate(zip(rows, counts, context_lens, strict=True)):
            num_blocks = -(-length // self._size)
            table = plan.block_table[row].tolist()
            self._check_entries(plan.block_table[row])
            used = table[:num_blocks]
            assert all(self._first <= block < self._rows for block in used)
            assert indices[indptr[i] : indptr[i + 1]] == used
            assert last[i] == length - (num_blocks - 1) * self._size
            mine = slots[begin : begin + count]
            begin += count
            positions = range(length - count, length)
            assert mine == [used[p // self._size] * self._size + p % self._size for p in positions]
            result.append((used, mine))
        assert len(set(slots)) == len(slots), "two tokens of one step share a slot"
        return result

    def _check_entries(self, entries: NDArray[np.int32]) -> None:
        """Entries are blocks, then padding: 0 with a null block, which storage has a row for, else -1."""
        padding = 0 if self._first == 1 else -1
        inside = (entries >= self._first) & (entries < self._rows)
        assert np.all(inside | (entries == padding))
        if padding == -1 or not inside.all():
            num_blocks = int(inside.argmin()) if not inside.all() else len(entries)
            assert not inside[num_blocks:].any(), "a block after the padding"
