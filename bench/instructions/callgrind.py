"""Counts instructions per operation with valgrind, for each way in which claims can lie beside the requests."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CLAIMS: Final = ("none", "elsewhere", "one", "all")
CASES: Final = ("admit", "hit", "decode")
_PART: Final = re.compile(r"^desc: Trigger: Client Request: (\w+)$.*?^totals: (\d+)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Counts:
    """Instructions of one operation, from Python's call to its return. `of[claims][case]`."""

    num_claims: int
    of: Mapping[str, Mapping[str, float]]

    def change(self, claims: str, case: str) -> float:
        """How much more the operation takes with these claims than with none, as a fraction."""
        return self.of[claims][case] / self.of["none"][case] - 1


def why_not_here() -> str | None:
    """Why instructions can not be counted on this machine, or None."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    return None if os.uname().machine == "x86_64" else "the client requests are written for x86_64"


def count_instructions(num_claims: int, num_runs: int) -> Counts:
    """Run the driver once for each way, two at a time: counts do not depend on what else the machine does.

    Raises
    ------
    RuntimeError : a driver failed; the message ends with what it printed.
    """
    with ThreadPoolExecutor(max_workers=2) as pool, tempfile.TemporaryDirectory() as folder:
        jobs = [pool.submit(_count, claims, num_claims, num_runs, Path(folder)) for claims in CLAIMS]
        return Counts(num_claims, {claims: job.result() for claims, job in zip(CLAIMS, jobs, strict=True)})


def _count(claims: str, num_claims: int, num_runs: int, folder: Path) -> dict[str, float]:
    command = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no"]
    command += [f"--callgrind-out-file={folder / claims}"]
    command += [sys.executable, "-m", "bench.instructions.driver", claims, str(num_claims), str(num_runs)]
    environment = os.environ | {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stderr}")
    totals: dict[str, int] = {}
    for part in folder.glob(f"{claims}.*"):  # one file for each dump
        for case, total in _PART.findall(part.read_text(encoding="utf-8")):
            totals[case] = int(total)
    return {case: (totals[case] - totals["nothing"]) / num_runs for case in CASES}
