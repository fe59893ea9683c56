"""Starts a peer's measurements in the interpreter that has it."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def default_vllm_python() -> str | None:
    """Our own interpreter, if vllm is installed in it."""
    return sys.executable if importlib.util.find_spec("vllm") else None


def run_vllm(python: str, num_runs: int, root: Path) -> Mapping[str, Any]:
    """Measure vLLM at our shapes.

    Returns
    -------
    Its version and times by case; or, if it failed, the end of what it printed under "failed".
    """
    command = [python, "-m", "bench.peers.vllm_kv_cache_manager", str(num_runs)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode != 0:
        return {"failed": ended.stderr.splitlines()[-5:]}
    measured: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return measured
