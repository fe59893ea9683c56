"""The capacity sweep: what each policy does to 60 resident blocks and an active 70 as the pool grows.

`native` and `write_no_admit` leave the residents to ordinary eviction: a best-effort claim names them, so that a trace
can tell whose blocks were lost, and protects nothing. `hard_resident_exclude` claims them hard.
"""

from dataclasses import asdict, dataclass
from enum import Enum
from functools import partial
from typing import Final

from residentkv.conformance.litmus.base import ManualClock, Scenario
from residentkv.conformance.observation import Observation
from residentkv.conformance.workload import ACTIVE_BLOCKS, RESIDENT_BLOCKS, claim, extended, text
from residentkv.contract.claim import ClaimState, ProtectionMode
from residentkv.contract.protocol import Capability, ConformanceRuntime, FutureReuse

USABLE_BLOCKS: Final = (80, 90, 100, 110, 120, 130, 150)


class SweepPolicy(str, Enum):
    """How residents and the active request are treated."""

    NATIVE = "native"
    WRITE_NO_ADMIT = "write_no_admit"
    HARD_RESIDENT_EXCLUDE = "hard_resident_exclude"

    @property
    def resident_mode(self) -> ProtectionMode:
        """Mode of the claim on the residents."""
        hard = self is SweepPolicy.HARD_RESIDENT_EXCLUDE
        return ProtectionMode.HARD_PROTECTED if hard else ProtectionMode.BEST_EFFORT

    @property
    def future_reuse(self) -> FutureReuse:
        """Whether the active request may leave its KV behind."""
        return FutureReuse.DENY if self is SweepPolicy.WRITE_NO_ADMIT else FutureReuse.ADMIT


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One cell of the sweep, as its trace tells it.

    Parameters
    ----------
    active_action : "active_served", "active_refused", "active_deferred", or "active_absent" if the trace does not say.
    resident_victims : resident blocks evicted for the active request.
    resident_preserved : the claim was materialized, lost nothing, and its blocks were found again afterwards.
    active_reusable : the active request was served and admitted for reuse.
    """

    usable: int
    policy: str
    active_action: str
    active_served: bool
    resident_preserved: bool
    resident_victims: int
    active_reusable: bool

    def as_fields(self) -> dict[str, object]:
        """The row as JSON values."""
        return asdict(self)


def sweep_scenario(usable_blocks: int, policy: SweepPolicy) -> Scenario:
    """One run of the sweep."""
    hard = policy is SweepPolicy.HARD_RESIDENT_EXCLUDE
    needs = {Capability.HARD_CLAIMS if hard else Capability.BEST_EFFORT_CLAIMS}
    if policy is SweepPolicy.WRITE_NO_ADMIT:
        needs.add(Capability.WRITE_NO_ADMIT)
    return Scenario(partial(_play, policy), frozenset(needs), usable_blocks)


def observed_row(usable_blocks: int, policy: SweepPolicy, seen: Observation) -> SweepRow:
    """Read the facts out of a run."""
    active, life = seen.request("active"), seen.claims.get("resident")
    served = active.outcome == "admitted" and not seen.problems
    intact = life is not None and life.state is ClaimState.MATERIALIZED and not life.evictions
    found = seen.request("reuse").number("reused_blocks") == RESIDENT_BLOCKS
    return SweepRow(
        usable=usable_blocks,
        policy=policy.value,
        active_action="active_served" if served else f"active_{active.outcome}",
        active_served=served,
        resident_preserved=intact and found,
        resident_victims=seen.resident_victims("resident", "active"),
        active_reusable=served and active.future_reuse == "admitted",
    )


def expected_row(usable_blocks: int, policy: SweepPolicy) -> SweepRow:
    """What the contract and plain arithmetic say about a run."""
    shortfall = max(0, RESIDENT_BLOCKS + ACTIVE_BLOCKS - usable_blocks)
    hard = policy is SweepPolicy.HARD_RESIDENT_EXCLUDE
    served = not (hard and shortfall)
    return SweepRow(
        usable=usable_blocks,
        policy=policy.value,
        active_action="active_served" if served else "active_refused",
        active_served=served,
        resident_preserved=hard or not shortfall,
        resident_victims=0 if hard else shortfall,
        active_reusable=served and policy.future_reuse is FutureReuse.ADMIT,
    )


def _play(policy: SweepPolicy, runtime: ConformanceRuntime, clock: ManualClock) -> None:
    del clock
    resident, active = text("resident", RESIDENT_BLOCKS), text("active", ACTIVE_BLOCKS)
    runtime.submit(claim("resident", resident, policy.resident_mode))
    runtime.serve("seed", resident, FutureReuse.ADMIT)
    runtime.serve("active", active, policy.future_reuse)
    runtime.serve("reuse", extended(resident), FutureReuse.ADMIT)
