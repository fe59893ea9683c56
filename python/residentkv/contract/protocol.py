"""What a runtime implements to be judged by `residentkv conformance`.

The suite drives a runtime through this protocol and reads nothing back: the calls return nothing on purpose, a verdict
is computed from the JSON Lines trace alone. A runtime that can not do something says so in `capabilities`; the litmus
that needs it is then reported as not exposed, which is not a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from residentkv.contract.claim import ClaimSpec
from residentkv.contract.identity import CacheIdentity


class Capability(str, Enum):
    """What a litmus may need of a runtime."""

    HARD_CLAIMS = "hard_claims"
    DEMOTABLE_CLAIMS = "demotable_claims"
    EXPIRING_CLAIMS = "expiring_claims"
    SOFT_CLAIMS = "soft_claims"
    BEST_EFFORT_CLAIMS = "best_effort_claims"
    WRITE_NO_ADMIT = "write_no_admit"
    INVALIDATION = "invalidation"
    OFFLOADABLE_CLAIMS = "offloadable_claims"
    RESTORATION_FAULTS = "restoration_faults"


class RestorationFault(str, Enum):
    """What keeps an offloaded block from coming back (contract.md section 3)."""

    MISSING = "missing"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"

    @property
    def is_permanent(self) -> bool:
        """Whether the copy can never be verified again."""
        return self in (RestorationFault.MISSING, RestorationFault.CHECKSUM_MISMATCH)


class FutureReuse(str, Enum):
    """Whether what a request computes may be found by later requests."""

    ADMIT = "admit"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """One fresh runtime.

    Parameters
    ----------
    usable_blocks : size of the pool, in blocks.
    identity : of all requests and claims; fixes the block size.
    trace_path : where events go, as JSON Lines, complete once `close` returned.
    run_id, policy : carried by every event.
    clock : nanoseconds; the only time there is.
    """

    usable_blocks: int
    identity: CacheIdentity
    trace_path: Path
    run_id: str
    policy: str
    clock: Callable[[], int]


class ConformanceRuntime(Protocol):
    """A runtime under test. One per run; calls come from one thread."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this runtime can do."""

    def submit(self, spec: ClaimSpec) -> None:
        """Ask for a claim."""

    def serve(self, request_id: str, tokens: Sequence[int], future_reuse: FutureReuse) -> None:
        """Ask to admit a request for `tokens` alone; if it is admitted, compute all of them and finish it.

        A request that waits for a restore asks again until the restore has ended.
        """

    def demote(self, claim_id: str) -> None:
        """End the claim's protection by demotion."""

    def expire_due(self) -> None:
        """Expire every claim whose deadline the clock has passed."""

    def release(self, claim_id: str) -> None:
        """End the claim at its owner's wish."""

    def invalidate(self, claim_id: str, position: int, cause: str) -> None:
        """Declare bad the content of the block at logical `position` of the claim."""

    def close(self) -> None:
        """Write the rest of the trace and let go of everything."""


class OffloadingRuntime(ConformanceRuntime, Protocol):
    """A runtime with OFFLOADABLE_CLAIMS; `inject` is asked only of one that has RESTORATION_FAULTS as well."""

    def offload(self, claim_id: str) -> None:
        """Move the claim's KV to the offload tier; it has left when this returns."""

    def inject(self, claim_id: str, position: int, fault: RestorationFault) -> None:
        """Let the next restore fail that needs the block at logical `position` of the offloaded claim."""


RuntimeFactory = Callable[[RuntimeOptions], ConformanceRuntime]
