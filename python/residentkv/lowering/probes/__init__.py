"""Probes: programs of this package that drive a real runtime and leave traces. Nothing but these is ever run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from residentkv.lowering.probes.native import run_native
from residentkv.lowering.probes.vllm import run_vllm
from residentkv.lowering.vocabulary import Depth, Role


@dataclass(frozen=True, slots=True)
class Probe:
    """One program, and what its runs may stand for.

    Parameters
    ----------
    runtime, runtime_mode : what it drives, and in which configuration.
    depth, role : whose code decides the outcomes it records. Fixed here, so no descriptor can raise it.
    run : (interpreter or None, empty folder) -> version it met; leaves `CASE.jsonl` for every case in the folder.
        Raises UnverifiedError if it can not run here.
    """

    runtime: str
    runtime_mode: str
    depth: Depth
    role: Role
    run: Callable[[Path | None, Path], str]


PROBES: Final[Mapping[str, Probe]] = {
    "native-litmus": Probe("residentkv", "default", Depth.NATIVE, Role.ENFORCES, run_native),
    "vllm-observed": Probe(
        "vllm",
        "enable_caching=True",
        Depth.ADAPTER,
        Role.OBSERVES,
        lambda python, out: run_vllm("observed", python, out),
    ),
    "vllm-held": Probe(
        "vllm", "enable_caching=True", Depth.ADAPTER, Role.ENFORCES, lambda python, out: run_vllm("held", python, out)
    ),
}
