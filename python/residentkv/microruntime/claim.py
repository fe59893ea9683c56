"""One life of a claim, from its acceptance to its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from residentkv.contract.claim import ClaimEvent, ClaimSpec, ClaimState, Duration, ProtectionMode, advance
from residentkv.contract.identity import request_token_map_id, reusable_object_id
from residentkv.microruntime.node import Node


@dataclass(frozen=True, slots=True)
class Moment:
    """A point on the three clocks of a runtime."""

    steps: int
    allocations: int
    nanoseconds: int


@dataclass(frozen=True, slots=True)
class Deadline:
    """Absolute points at which a claim is due; None where there is none."""

    steps: int | None = None
    allocations: int | None = None
    nanoseconds: int | None = None

    @classmethod
    def after(cls, duration: Duration | None, now: Moment) -> "Deadline":
        """Return the deadline of a claim that starts, or starts anew, at `now`."""
        if duration is None:
            return cls()
        return cls(
            None if duration.steps is None else now.steps + duration.steps,
            None if duration.allocations is None else now.allocations + duration.allocations,
            None if duration.nanoseconds is None else now.nanoseconds + duration.nanoseconds,
        )

    def is_past(self, now: Moment) -> bool:
        """Whether any of the three was reached."""
        return self.crossed(Moment(now.steps + 1, now.allocations + 1, now.nanoseconds)) is not None

    def crossed(self, then: Moment) -> tuple[int, int] | None:
        """Which limit a call that ends at `then` would outlast first, as (clock, limit).

        The last step and the last allocation still are within the limit; a point in time is reached once and for all.
        """
        clocks = (
            (self.steps, then.steps - 1),
            (self.allocations, then.allocations - 1),
            (self.nanoseconds, then.nanoseconds),
        )
        return next(
            ((clock, limit) for clock, (limit, last) in enumerate(clocks) if limit is not None and limit <= last), None
        )


@dataclass(eq=False, slots=True)
class Claim:
    """An accepted claim.

    Attributes
    ----------
    number : of its acceptance; claims accepted later have higher ones.
    nodes : its footprint, by position.
    is_materialized : whether its predicate is true, as last reported.
    revision : of the last renewal; 0 is the submission.
    awaits_reuse : restored, and not reused since.
    fields : what its submission fixes of its events.
    """

    spec: ClaimSpec
    number: int
    nodes: tuple[Node, ...]
    lifecycle_generation: int
    deadline: Deadline
    duration: Duration | None
    fields: Mapping[str, Any]
    state: ClaimState = ClaimState.ACCEPTED
    is_materialized: bool = False
    revision: int = 0
    offload_generation: int = 0
    restoration_generation: int = 0
    awaits_reuse: bool = False

    @property
    def claim_id(self) -> str:
        """The caller's name."""
        return self.spec.claim_id

    @property
    def is_on_device(self) -> bool:
        """Whether device blocks are its business: an offloaded claim protects none and loses none."""
        return self.state is not ClaimState.OFFLOADED

    @property
    def protects(self) -> bool:
        """Whether its footprint belongs to P now."""
        return self.spec.mode.is_protecting and self.is_on_device

    @property
    def is_soft(self) -> bool:
        """Whether its blocks go later than merely cached ones."""
        return self.spec.mode is ProtectionMode.SOFT_PRIORITY

    @property
    def predicate_nodes(self) -> tuple[Node, ...]:
        """The nodes its predicate tests."""
        return self.nodes[self.spec.predicate.start : self.spec.predicate.predicate_blocks]

    def move(self, event: ClaimEvent) -> None:
        """Advance by the contract's table.

        Raises
        ------
        ClaimStateError : it has no such transition; nothing changed.
        """
        self.state = advance(self.state, event)

    def surviving(self) -> set[int]:
        """Return the positions whose blocks are on the device."""
        return {node.position for node in self.nodes if node.is_computed}

    def as_fields(self, surviving: set[int] | None = None) -> dict[str, Any]:
        """What its events say of it; `surviving` replaces what the device says."""
        survivors = self.surviving() if surviving is None else surviving
        return {
            **self.fields,
            "lifecycle_generation": self.lifecycle_generation,
            "resident_blocks_materialized": len(survivors),
            "leading_blocks_survived": next((i for i in range(len(self.nodes)) if i not in survivors), len(self.nodes)),
            "predicate_materialized": self.is_materialized and self.spec.predicate.holds(survivors),
        }


def spec_fields(spec: ClaimSpec) -> dict[str, Any]:
    """The fields of a claim's events that its submission fixes."""
    identity, footprint = spec.cache_identity, spec.num_footprint_blocks
    return {
        "claim_id": spec.claim_id,
        "prefix_id": reusable_object_id(identity, spec.tokens, spec.predicate.predicate_blocks, spec.extra_keys),
        "reusable_object_id": reusable_object_id(identity, spec.tokens, footprint, spec.extra_keys),
        "request_token_map_id": request_token_map_id(identity, spec.tokens),
        "cache_identity": identity.as_fields(),
        "predicate_id": f"{spec.claim_id}/{spec.predicate}",
        "materialization_predicate": str(spec.predicate),
        "protection_mode": spec.mode.value,
        "resident_blocks_required": footprint,
    }
