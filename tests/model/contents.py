"""What a KV slot should hold: the KV of a token depends on every token before it, so its content is a whole chain.

A chain is interned to an int. Two chains get the same int exactly when root, tokens and extra keys are equal: nothing
is hashed away, so a model that compares ints compares everything. A block's node is the content of its last token.
"""

from collections.abc import Sequence

Content = int


class Contents:
    def __init__(self, block_size: int) -> None:
        self._block_size = block_size
        self._ids: dict[tuple[object, ...], Content] = {}

    def chain(self, root: int, tokens: Sequence[int], extras: Sequence[bytes | None] = ()) -> list[Content]:
        """Content at every position of `tokens`."""
        content = self._id("root", root)
        result = []
        for position, token in enumerate(tokens):
            block, offset = divmod(position, self._block_size)
            extra = extras[block] if offset == 0 and block < len(extras) else None
            content = self._id(content, token, extra)
            result.append(content)
        return result

    def nodes(self, root: int, tokens: Sequence[int], extras: Sequence[bytes | None] = ()) -> list[Content]:
        """The node of every full block of `tokens`."""
        size = self._block_size
        return self.chain(root, tokens, extras)[size - 1 :: size]

    def _id(self, *key: object) -> Content:
        return self._ids.setdefault(key, len(self._ids))
