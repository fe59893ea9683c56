"""Numbers for cache identities: each is the root of its own chains, so KV is never shared across identities."""

from residentkv.contract.errors import ContractError
from residentkv.contract.identity import CacheIdentity


class RootTable:
    """Root numbers by identity. Grows by one entry per distinct identity; none is ever reused.

    Attributes
    ----------
    block_size : tokens in a block of this pool; identities must agree.
    """

    __slots__ = ("_numbers", "block_size")

    def __init__(self, default: CacheIdentity, block_size: int) -> None:
        self.block_size = block_size
        self._numbers: dict[CacheIdentity, int] = {}
        self.number(default)

    def number(self, identity: CacheIdentity | None) -> int:
        """The identity's root; None is the default identity, which is root 0.

        Raises
        ------
        ContractError : not a CacheIdentity, or its block size is not the pool's.
        """
        if identity is None:
            return 0
        known = self._numbers.get(identity)
        if known is not None:
            return known
        if not isinstance(identity, CacheIdentity):
            raise ContractError(f"identity must be a CacheIdentity, got {identity!r}")
        if identity.block_size != self.block_size:
            raise ContractError(
                f"identity.block_size={identity.block_size} does not match the pool's block_size={self.block_size}; "
                "use an identity of this pool's block size"
            )
        return self._numbers.setdefault(identity, len(self._numbers))
