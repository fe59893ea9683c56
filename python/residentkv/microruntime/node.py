"""Logical blocks: what claims name and requests compute. Two blocks of equal content are one node."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from residentkv.contract.identity import CacheIdentity, ExtraKeys

if TYPE_CHECKING:
    from residentkv.microruntime.claim import Claim


@dataclass(eq=False, slots=True)
class Node:
    """A cache identity and all tokens up to the end of one block. Compared by object: `NodeTree` makes each once.

    Attributes
    ----------
    parent : the node one block shorter; None at position 0.
    block : the canonical physical block that holds its content; None while it is only planned, or lost.
    last_owner : the ended claim that named it last, to which a later loss is reported.
    """

    parent: "Node | None"
    position: int
    block: int | None = None
    last_owner: "Claim | None" = None

    @property
    def is_computed(self) -> bool:
        """Whether a block holds its content."""
        return self.block is not None

    def descends_from(self, ancestors: set["Node"]) -> bool:
        """Whether this node or one above it is among `ancestors`."""
        node: Node | None = self
        while node is not None and node not in ancestors:
            node = node.parent
        return node is not None


class NodeTree:
    """Every node that was ever named or computed. A model may remember them all; a runtime may not."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[CacheIdentity | Node, tuple[int, ...], bytes | None], Node] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def chain(
        self, identity: CacheIdentity, tokens: tuple[int, ...], num_blocks: int, extra_keys: ExtraKeys = ()
    ) -> tuple[Node, ...]:
        """Return the nodes of the first `num_blocks` full blocks of `tokens`."""
        size = identity.block_size
        chain: list[Node] = []
        for position in range(num_blocks):
            parent = chain[-1] if chain else None
            extra = extra_keys[position] if position < len(extra_keys) else None
            key = (parent or identity, tokens[position * size : (position + 1) * size], extra)
            chain.append(self._nodes.setdefault(key, Node(parent, position)))
        return tuple(chain)
