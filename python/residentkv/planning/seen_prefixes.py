"""Which prefixes were computed before: what an endless cache would have found."""

from typing import TYPE_CHECKING

from residentkv.planning.request_trace import Prompt

if TYPE_CHECKING:
    from collections.abc import Hashable

_ROOT = 0


class SeenPrefixes:
    """A trie of chunk keys. O(chunks) per prompt, one small entry per different chunk."""

    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._nodes: dict[tuple[int, Hashable], int] = {}

    def num_tokens(self, prompt: Prompt) -> int:
        """Leading tokens of `prompt` that were computed before; its last token always has to be computed."""
        keys, chunk_tokens = prompt.chunks(self._block_size)
        node, found = _ROOT, 0
        for key in keys:
            following = self._nodes.get((node, key))
            if following is None:
                break
            node, found = following, found + 1
        most = (prompt.num_tokens - 1) // self._block_size * self._block_size
        return min(found * chunk_tokens, most)

    def add(self, prompt: Prompt) -> None:
        """Remember that `prompt` was computed."""
        node = _ROOT
        for key in prompt.chunks(self._block_size)[0]:
            node = self._nodes.setdefault((node, key), len(self._nodes) + 1)
