"""What a replay counts, and the numbers people ask for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_NANOSECONDS: Final = 1e9


@dataclass(frozen=True, slots=True)
class OccupancySample:
    """The pool at one moment, in blocks; contract.md section 1."""

    at_ns: int
    free: int
    cached: int
    active: int
    resident_idle: int
    reserved: int
    num_running: int
    num_waiting: int


@dataclass(slots=True)
class ClaimLedger:
    """What one claim did for others and cost them.

    Parameters
    ----------
    num_hits, reused_tokens : admissions that reused at least one of its blocks, and how many of its tokens in all.
    num_refusals, num_deferrals : requests that were told to wait or go because of it.
    """

    claim_id: str
    owner_scope: str
    mode: str
    footprint_blocks: int
    outcome: str = "accepted"
    num_hits: int = 0
    reused_tokens: int = 0
    num_refusals: int = 0
    num_deferrals: int = 0


@dataclass(slots=True)
class ReplayStatistics:
    """Counts of one replay; times are simulated ones, except `manager_ns` and `wall_ns`.

    Parameters
    ----------
    prompt_tokens, cached_tokens, computed_tokens : of admitted requests; computed ones include what was preempted.
    recomputed_tokens : tokens computed again although an earlier request had computed the same prefix.
    first_token_ns : from arrival to the first token, of every request that got one.
    manager_ns : spent inside the manager's calls, by call.
    """

    num_requests: int
    num_finished: int = 0
    num_deferred: int = 0
    num_preempted: int = 0
    num_steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    computed_tokens: int = 0
    recomputed_tokens: int = 0
    generated_tokens: int = 0
    num_evictions: int = 0
    num_left_waiting: int = 0
    simulated_ns: int = 0
    wall_ns: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    deferrals: Counter[str] = field(default_factory=Counter)
    first_token_ns: list[int] = field(default_factory=list)
    occupancy: list[OccupancySample] = field(default_factory=list)
    claims: dict[str, ClaimLedger] = field(default_factory=dict)
    manager_ns: Counter[str] = field(default_factory=Counter)

    @property
    def hit_rate(self) -> float:
        """Share of prompt tokens found in the cache."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    def simulated(self) -> dict[str, Any]:
        """Everything that the seed and the trace decide, as JSON values."""
        first_token_s = np.array(self.first_token_ns, np.float64) / _NANOSECONDS
        return {
            "num_requests": self.num_requests,
            "num_finished": self.num_finished,
            "num_refused": sum(self.refusals.values()),
            "num_deferred": self.num_deferred,
            "num_preempted": self.num_preempted,
            "num_left_waiting": self.num_left_waiting,
            "num_steps": self.num_steps,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "computed_tokens": self.computed_tokens,
            "recomputed_tokens": self.recomputed_tokens,
            "generated_tokens": self.generated_tokens,
            "hit_rate": round(self.hit_rate, 6),
            "num_evictions": self.num_evictions,
            "refusals_by_reason": dict(sorted(self.refusals.items())),
            "deferrals_by_reason": dict(sorted(self.deferrals.items())),
            "time_to_first_token_s": percentiles(first_token_s),
            "simulated_s": round(self.simulated_ns / _NANOSECONDS, 3),
            "claims": [
                {name: getattr(ledger, name) for name in ClaimLedger.__slots__} for ledger in self.claims.values()
            ],
            "tenants": self._tenants(),
            "occupancy": [[getattr(sample, name) for name in OccupancySample.__slots__] for sample in self.occupancy],
            "occupancy_fields": list(OccupancySample.__slots__),
        }

    def measured(self) -> dict[str, Any]:
        """Processor time on the machine that replayed; differs from run to run."""
        manager_s = sum(self.manager_ns.values()) / _NANOSECONDS
        wall_s = self.wall_ns / _NANOSECONDS
        return {
            "wall_s": round(wall_s, 3),
            "manager_s": round(manager_s, 3),
            "manager_share": round(manager_s / wall_s, 4) if wall_s else 0.0,
            "manager_us_per_step": round(manager_s * 1e6 / self.num_steps, 3) if self.num_steps else 0.0,
            "manager_s_by_call": {call: round(ns / _NANOSECONDS, 3) for call, ns in sorted(self.manager_ns.items())},
        }

    def _tenants(self) -> list[dict[str, Any]]:
        summed = ("footprint_blocks", "num_hits", "reused_tokens", "num_refusals", "num_deferrals")
        tenants: dict[str, dict[str, Any]] = {}
        for ledger in self.claims.values():
            row = tenants.setdefault(
                ledger.owner_scope, {"owner_scope": ledger.owner_scope, "num_claims": 0, **dict.fromkeys(summed, 0)}
            )
            row["num_claims"] += 1
            for name in summed:
                row[name] += getattr(ledger, name)
        return list(tenants.values())


def percentiles(seconds: NDArray[np.float64] | Sequence[float]) -> dict[str, float | None]:
    """Median, p95 and p99 (nearest rank), or nulls when there is nothing to rank."""
    if not len(seconds):
        return {"p50": None, "p95": None, "p99": None}
    found = np.percentile(np.asarray(seconds), [50, 95, 99], method="inverted_cdf")
    return {name: round(float(value), 6) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}
