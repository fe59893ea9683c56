"""residentkv: a native paged KV block manager that keeps its promises.

Callers claim prefixes, the runtime accepts or rejects, and from then on every decision under pressure is explicit,
attributed and ordered. Names are imported when they are first used: importing the package loads neither the native
module nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from residentkv._core import Replaced, StepBuffers, StepPlan
    from residentkv.contract.arbiter import PRESERVE_CLAIMS, RELAX_LEAST_VALUE, ArbiterPolicy, RelaxOrder
    from residentkv.contract.claim import ClaimAction, ClaimSpec, ClaimState, Duration, ProtectionMode
    from residentkv.contract.decision import (
        Accepted,
        Admitted,
        ArbiterAction,
        ConflictRecord,
        Deferred,
        Explanation,
        Feasibility,
        NeedsRoom,
        Refused,
        Rejected,
        RejectReason,
        Renewal,
        RenewStatus,
    )
    from residentkv.contract.errors import (
        ClaimStateError,
        ConfigError,
        ContractError,
        DeviceError,
        InvariantError,
        ResidentKVError,
    )
    from residentkv.contract.events import EventSink
    from residentkv.contract.identity import CacheIdentity
    from residentkv.contract.predicate import ContiguousRange, LeadingPrefix
    from residentkv.observe.sinks import CallbackSink, JsonlSink, MemorySink
    from residentkv.observe.trace import read_trace
    from residentkv.runtime.block_manager import BlockManager
    from residentkv.runtime.claim_manager import ClaimManager
    from residentkv.runtime.event_log import EventLog, SinkError
    from residentkv.runtime.live_claim import ClaimView
    from residentkv.runtime.pool_options import PoolOptions
    from residentkv.runtime.pool_view import PoolView, RequestView

__all__ = [
    "PRESERVE_CLAIMS",
    "RELAX_LEAST_VALUE",
    "Accepted",
    "Admitted",
    "ArbiterAction",
    "ArbiterPolicy",
    "BlockManager",
    "CacheIdentity",
    "CallbackSink",
    "ClaimAction",
    "ClaimManager",
    "ClaimSpec",
    "ClaimState",
    "ClaimStateError",
    "ClaimView",
    "ConfigError",
    "ConflictRecord",
    "ContiguousRange",
    "ContractError",
    "Deferred",
    "DeviceError",
    "Duration",
    "EventLog",
    "EventSink",
    "Explanation",
    "Feasibility",
    "InvariantError",
    "JsonlSink",
    "LeadingPrefix",
    "MemorySink",
    "NeedsRoom",
    "PoolOptions",
    "PoolView",
    "ProtectionMode",
    "Refused",
    "RejectReason",
    "Rejected",
    "RelaxOrder",
    "RenewStatus",
    "Renewal",
    "Replaced",
    "RequestView",
    "ResidentKVError",
    "SinkError",
    "StepBuffers",
    "StepPlan",
    "read_trace",
]

_MODULE_OF: Final = {
    "PRESERVE_CLAIMS": "contract.arbiter",
    "RELAX_LEAST_VALUE": "contract.arbiter",
    "Accepted": "contract.decision",
    "Admitted": "contract.decision",
    "ArbiterAction": "contract.decision",
    "ArbiterPolicy": "contract.arbiter",
    "BlockManager": "runtime.block_manager",
    "CacheIdentity": "contract.identity",
    "CallbackSink": "observe.sinks",
    "ClaimAction": "contract.claim",
    "ClaimManager": "runtime.claim_manager",
    "ClaimSpec": "contract.claim",
    "ClaimState": "contract.claim",
    "ClaimStateError": "contract.errors",
    "ClaimView": "runtime.live_claim",
    "ConfigError": "contract.errors",
    "ConflictRecord": "contract.decision",
    "ContiguousRange": "contract.predicate",
    "ContractError": "contract.errors",
    "Deferred": "contract.decision",
    "DeviceError": "contract.errors",
    "Duration": "contract.claim",
    "EventLog": "runtime.event_log",
    "EventSink": "contract.events",
    "Explanation": "contract.decision",
    "Feasibility": "contract.decision",
    "InvariantError": "contract.errors",
    "JsonlSink": "observe.sinks",
    "LeadingPrefix": "contract.predicate",
    "MemorySink": "observe.sinks",
    "NeedsRoom": "contract.decision",
    "PoolOptions": "runtime.pool_options",
    "PoolView": "runtime.pool_view",
    "ProtectionMode": "contract.claim",
    "Refused": "contract.decision",
    "RejectReason": "contract.decision",
    "Rejected": "contract.decision",
    "RelaxOrder": "contract.arbiter",
    "RenewStatus": "contract.decision",
    "Renewal": "contract.decision",
    "Replaced": "_core",
    "RequestView": "runtime.pool_view",
    "ResidentKVError": "contract.errors",
    "SinkError": "runtime.event_log",
    "StepBuffers": "_core",
    "StepPlan": "_core",
    "read_trace": "observe.trace",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'residentkv' has no attribute {name!r}")
    value: object = getattr(import_module(f"residentkv.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
