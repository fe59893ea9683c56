"""Importing the package in a fresh interpreter."""

import resource
import subprocess
import sys

from bench.workloads.base import Facts, WorkNotDoneError


def children_seconds() -> float:
    """Processor time of all processes that we started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Import:
    """A whole interpreter that runs one import statement and ends: an upper bound of what the import costs."""

    units = 1

    def __init__(self, statement: str) -> None:
        self._statement = statement

    def prepare(self) -> None:
        """Nothing: the page cache is warm after the first run, as on any machine that serves."""

    def run(self) -> None:
        """Start, import, end."""
        subprocess.run([sys.executable, "-c", self._statement], check=True)  # noqa: S603 - our own interpreter

    def verify(self) -> Facts:
        """Neither torch nor a kernel compiler was loaded. What the bare interpreter takes is a case of its own."""
        code = (
            f"{self._statement}; import sys; print(*sorted({{'torch', 'triton', 'transformers'}} & set(sys.modules)))"
        )
        loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
        if loaded.stdout.strip():
            raise WorkNotDoneError(f"{self._statement!r} loads {loaded.stdout.strip()}")
        return {}
