"""Run cases in a process of their own, with the kernels of the tree or a folder of changed ones."""

import os
import subprocess
import sys
from enum import Enum
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = Path("tests/kernels/cases")
PACKAGE = "residentkv.kernels"


class Execution(Enum):
    INTERPRETED = "1"
    COMPILED = "0"


def run_cases(
    names: list[str], execution: Execution, *, kernels: Path = ROOT / "kernels"
) -> subprocess.CompletedProcess[str]:
    """`names` are files of the cases folder, with `::test` or without. The caller's Triton settings do not matter."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("TRITON_", "PYTEST_"))}
    arguments = ["-q", "-x", "-rs", "-p", "no:cacheprovider", *(str(CASES / name) for name in names)]
    return subprocess.run(
        [sys.executable, "-m", "tests.kernels.processes", str(kernels), *arguments],
        cwd=ROOT,
        env=others | {"TRITON_INTERPRET": execution.value},
        capture_output=True,
        text=True,
        check=False,
    )


class _KernelsFrom:
    """An import finder that takes `residentkv.kernels` out of `folder`, whatever is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: object = None, target: object = None):
        if name == PACKAGE:
            return spec_from_file_location(
                name, self.folder / "__init__.py", submodule_search_locations=[str(self.folder)]
            )
        if name.startswith(PACKAGE + "."):
            return spec_from_file_location(name, self.folder / f"{name.removeprefix(PACKAGE + '.')}.py")
        return None


if __name__ == "__main__":
    sys.meta_path.insert(0, _KernelsFrom(Path(sys.argv[1])))
    sys.exit(pytest.main(sys.argv[2:]))
