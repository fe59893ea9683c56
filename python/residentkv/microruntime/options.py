"""Size and limits of one model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from residentkv.contract.arbiter import RELAX_LEAST_VALUE, ArbiterPolicy
from residentkv.contract.identity import CacheIdentity


@dataclass(frozen=True, slots=True)
class MicroOptions:
    """Fixed properties of a model. Counts are blocks unless named otherwise.

    Parameters
    ----------
    identity : of requests that name none; fixes the block size.
    host_blocks : of the tier that offloaded blocks go to; 0: there is none, and no offloadable claim.
    max_requests : admitted and not finished at once.
    max_protected_blocks : most that all claims together may protect; None: as capacity allows.
    quota_blocks : most that the protecting claims of one owner scope may add up to.
    """

    usable_blocks: int
    identity: CacheIdentity
    policy: ArbiterPolicy = RELAX_LEAST_VALUE
    run_id: str = "micro"
    host_blocks: int = 0
    max_requests: int = 1024
    max_protected_blocks: int | None = None
    quota_blocks: Mapping[str, int] = field(default_factory=dict)
