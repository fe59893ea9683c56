"""The closed words of contract.md section 8: modes, obligations, depths, roles and labels."""

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Mode(str, Enum):
    """What a row maps a feature onto: a protection mode, or one of the two capabilities that are none."""

    HARD_PROTECTED = "hard_protected"
    SOFT_PRIORITY = "soft_priority"
    DEMOTABLE = "demotable"
    EXPIRING = "expiring"
    OFFLOADABLE = "offloadable"
    BEST_EFFORT = "best_effort"
    ROUTING = "routing"
    WRITE_NO_ADMIT = "write_no_admit"


class Obligation(str, Enum):
    """One thing a runtime must do, and show, before it may count as a mode."""

    ACCEPTED_CLAIM_IDENTITY = "accepted_claim_identity"
    MATERIALIZATION_PREDICATE = "materialization_predicate"
    CACHE_IDENTITY_AND_TOKEN_MAP = "cache_identity_and_token_map"  # noqa: S105 - "token" is a word of the model
    ORDERED_LIFECYCLE_EVENTS = "ordered_lifecycle_events"
    CLAIM_SCOPED_OUTCOME = "claim_scoped_outcome"
    VICTIM_EXCLUSION = "victim_exclusion"
    ACTIVE_INFEASIBILITY_OUTCOME = "active_infeasibility_outcome"
    BLOCKING_CLAIM_ATTRIBUTION = "blocking_claim_attribution"
    CLAIM_SCOPED_PRIORITY_INFLUENCE = "claim_scoped_priority_influence"
    DEMOTION_BEFORE_LOSS = "demotion_before_loss"
    EXPIRY_BEFORE_LOSS = "expiry_before_loss"
    OFFLOAD_RESTORABILITY = "offload_restorability"
    RESTORATION_FAILURE_OUTCOME = "restoration_failure_outcome"
    ACCEPTED_CLAIM_PLACEMENT = "accepted_claim_placement"
    REUSE_ATTRIBUTION = "reuse_attribution"
    NO_ADMIT_SEPARATION = "no_admit_separation"


COMMON: Final = (
    Obligation.ACCEPTED_CLAIM_IDENTITY,
    Obligation.MATERIALIZATION_PREDICATE,
    Obligation.CACHE_IDENTITY_AND_TOKEN_MAP,
    Obligation.ORDERED_LIFECYCLE_EVENTS,
    Obligation.CLAIM_SCOPED_OUTCOME,
)

# Everything that has to be met, by mode.
BUNDLES: Final[Mapping[Mode, tuple[Obligation, ...]]] = {
    Mode.HARD_PROTECTED: (
        *COMMON,
        Obligation.VICTIM_EXCLUSION,
        Obligation.ACTIVE_INFEASIBILITY_OUTCOME,
        Obligation.BLOCKING_CLAIM_ATTRIBUTION,
    ),
    Mode.SOFT_PRIORITY: (*COMMON, Obligation.CLAIM_SCOPED_PRIORITY_INFLUENCE),
    Mode.DEMOTABLE: (*COMMON, Obligation.DEMOTION_BEFORE_LOSS),
    Mode.EXPIRING: (*COMMON, Obligation.EXPIRY_BEFORE_LOSS),
    Mode.OFFLOADABLE: (*COMMON, Obligation.OFFLOAD_RESTORABILITY, Obligation.RESTORATION_FAILURE_OUTCOME),
    Mode.BEST_EFFORT: COMMON,
    Mode.ROUTING: (*COMMON, Obligation.ACCEPTED_CLAIM_PLACEMENT, Obligation.REUSE_ATTRIBUTION),
    Mode.WRITE_NO_ADMIT: (*COMMON, Obligation.NO_ADMIT_SEPARATION),
}


class Depth(str, Enum):
    """Whose code does it: the backend as released, a patched backend, code beside it, or nobody's."""

    NATIVE = "native"
    BACKEND_PATCH = "backend_patch"
    ADAPTER = "adapter"
    NONE = "none"

    @property
    def rank(self) -> int:
        """Deeper is greater."""
        return (Depth.NONE, Depth.ADAPTER, Depth.BACKEND_PATCH, Depth.NATIVE).index(self)


class Role(str, Enum):
    """Whether the code that was executed decides outcomes, or only joins what others decided."""

    OBSERVES = "observes"
    ENFORCES = "enforces"


class Stance(str, Enum):
    """What a piece of evidence says of its obligation. A control shows that the gate used for it can fail."""

    MEETS = "meets"
    LACKS = "lacks"
    CONTROL = "control"


class Label(str, Enum):
    """What a feature may count as."""

    NATIVE = "native"
    ADAPTER_POLICY = "adapter_policy"
    ADAPTER_OBSERVATIONAL = "adapter_observational"
    APPROXIMATION = "approximation"
    REJECTED = "rejected"
    UNKNOWN = "unknown"

    @property
    def credit(self) -> int:
        """How much it is worth; rejected and unknown are worth nothing alike."""
        return {
            Label.NATIVE: 4,
            Label.ADAPTER_POLICY: 3,
            Label.ADAPTER_OBSERVATIONAL: 2,
            Label.APPROXIMATION: 1,
        }.get(self, 0)
