"""Size and limits of one pool."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from residentkv.contract.errors import ContractError

_MOST: Final = 2**31 - 1  # ids and counts of blocks are 32 bit numbers; no pool has as many
DEFAULT_BLOCKS_PER_REQUEST: Final = 16384  # 256K tokens in blocks of 16


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Fixed properties of a pool. Counts are blocks unless named otherwise.

    Parameters
    ----------
    usable_blocks : blocks that can be handed out, > 0.
    block_size : tokens in a block, > 0.
    null_block : True: ids are 1..usable_blocks, id 0 takes padding writes, storage has one row more. False: ids are
        0..usable_blocks - 1.
    max_requests : rows of the block table: requests admitted and not finished, preempted ones included; > 0.
    max_blocks_per_request : width of the block table, > 0; None takes usable_blocks, at most 16384.
    block_events : whether each materialized, evicted or lost block is an event. Claim and request events can not be
        switched off.
    max_protected_blocks : most blocks that all claims together may protect; None: as capacity allows.
    quota_blocks : most footprint blocks that the protecting claims of one owner scope may add up to; scopes not named
        have no quota.

    Raises
    ------
    ContractError : a count out of range or not an int.
    """

    usable_blocks: int
    block_size: int = 16
    null_block: bool = True
    max_requests: int = 1024
    max_blocks_per_request: int | None = None
    block_events: bool = True
    max_protected_blocks: int | None = None
    quota_blocks: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("usable_blocks", "block_size", "max_requests"):
            _require_count(name, getattr(self, name), minimum=1)
        if self.max_blocks_per_request is not None:
            _require_count("max_blocks_per_request", self.max_blocks_per_request, minimum=1)
        if self.max_protected_blocks is not None:
            _require_count("max_protected_blocks", self.max_protected_blocks, minimum=0)
        for scope, quota in self.quota_blocks.items():
            _require_count(f"quota_blocks[{scope!r}]", quota, minimum=0)
        object.__setattr__(self, "quota_blocks", dict(self.quota_blocks))

    @property
    def table_width(self) -> int:
        """Blocks that one row of the block table can hold."""
        if self.max_blocks_per_request is not None:
            return self.max_blocks_per_request
        return min(self.usable_blocks, DEFAULT_BLOCKS_PER_REQUEST)

    @property
    def protected_limit(self) -> int:
        """Most blocks that claims may protect together by decision of the operator; capacity limits them anyway."""
        return _MOST if self.max_protected_blocks is None else self.max_protected_blocks


def _require_count(name: str, value: object, *, minimum: int) -> None:
    if type(value) is not int or not minimum <= value <= _MOST:
        raise ContractError(f"{name} must be an int from {minimum} to {_MOST}, got {value!r}")
