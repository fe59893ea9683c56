"""Physical blocks: a fixed number of them, each free, idle with content, or held.

The order in which idle content is given up is the whole policy: oldest first, and soft content only after the rest.
"""

from dataclasses import dataclass
from enum import Enum

from residentkv.contract.errors import InvariantError
from residentkv.microruntime.node import Node


class Retention(Enum):
    """How long idle content stays."""

    CACHED = "cached"  # first to go
    SOFT = "soft"  # goes when nothing is merely cached
    RESIDENT = "resident"  # never a victim


@dataclass(frozen=True, slots=True)
class Taken:
    """A block for new content, and the content that had to go."""

    block: int
    victim: Node | None = None
    victim_retention: Retention | None = None


class Pool:
    """Blocks 1 to `usable_blocks`.

    Attributes
    ----------
    content : node whose canonical content a block holds.
    holders : number of requests that hold a block; absent means none.
    num_allocations : blocks taken so far.
    """

    def __init__(self, usable_blocks: int) -> None:
        self.usable_blocks = usable_blocks
        self.content: dict[int, Node] = {}
        self.holders: dict[int, int] = {}
        self.num_allocations = 0
        self._free = list(range(usable_blocks, 0, -1))  # a stack: the block freed last is taken first
        self._retention: dict[int, Retention] = {}  # of blocks with content
        # Idle blocks by retention, oldest first: a dict keeps the order in which keys were put in.
        self._idle: dict[Retention, dict[int, None]] = {retention: {} for retention in Retention}

    @property
    def num_free(self) -> int:
        """Blocks without content that nobody holds."""
        return len(self._free)

    @property
    def num_cached(self) -> int:
        """Idle blocks that may become victims."""
        return len(self._idle[Retention.CACHED]) + len(self._idle[Retention.SOFT])

    @property
    def num_resident_idle(self) -> int:
        """Idle blocks that may not."""
        return len(self._idle[Retention.RESIDENT])

    @property
    def num_active(self) -> int:
        """Blocks that requests hold."""
        return len(self.holders)

    def retention(self, block: int) -> Retention:
        """Return how long the block's content stays once idle."""
        return self._retention[block]

    def is_idle(self, block: int) -> bool:
        """Whether nobody holds the block."""
        return block not in self.holders

    def take(self) -> Taken:
        """Hand out a free block, else the one whose idle content is the first to go.

        Raises
        ------
        InvariantError : there is none; whoever asked had no right to ask.
        """
        if self._free:
            taken = Taken(self._free.pop())
        else:
            victims = self._idle[Retention.CACHED] or self._idle[Retention.SOFT]
            if not victims:
                raise InvariantError(f"no block is free or cached: active={self.num_active} of {self.usable_blocks}")
            block = next(iter(victims))
            taken = Taken(block, self.content[block], self._retention[block])
            self.clear(block)
            self._free.remove(block)
        self.holders[taken.block] = 1
        self.num_allocations += 1
        return taken

    def hold(self, block: int) -> None:
        """Let one more request hold a block that has content or a holder."""
        if self.is_idle(block):
            del self._idle[self._retention[block]][block]
        self.holders[block] = self.holders.get(block, 0) + 1

    def release(self, block: int) -> None:
        """Let one request give the block up; its content stays, a block without content is free."""
        self.holders[block] -= 1
        if self.holders[block] == 0:
            del self.holders[block]
            if block in self.content:
                self._idle[self._retention[block]][block] = None
            else:
                self._free.append(block)

    def fill(self, block: int, node: Node, retention: Retention) -> None:
        """Say that a held block now is the canonical one of `node`."""
        self.content[block] = node
        self._retention[block] = retention
        node.block = block

    def clear(self, block: int) -> None:
        """Forget the block's content; if nobody holds it, it is free."""
        if self.is_idle(block):
            del self._idle[self._retention[block]][block]
            self._free.append(block)
        self.content.pop(block).block = None
        del self._retention[block]

    def retain(self, block: int, retention: Retention) -> None:
        """Change how long content stays. An idle block becomes the youngest of its new kind."""
        if self.is_idle(block):
            del self._idle[self._retention[block]][block]
            self._idle[retention][block] = None
        self._retention[block] = retention

    def check(self) -> None:
        """Check that free + cached + active + resident_idle = usable.

        Raises
        ------
        InvariantError : it is not so.
        """
        parts = (self.num_free, self.num_cached, self.num_active, self.num_resident_idle)
        if sum(parts) != self.usable_blocks:
            raise InvariantError(f"free, cached, active, resident_idle={parts} do not add up to {self.usable_blocks}")
