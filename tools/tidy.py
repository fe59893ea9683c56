"""House rules that no linter knows. `tests/test_tidy.py` runs them over the tree and proves that each can fail.

Usage: python tools/tidy.py    (prints `path:line: what is wrong`, exit status 1 if anything is)
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

# Columns, by kind of source. A stub is a table with one signature a line, so it has no limit.
MAX_COLUMNS: Final[Mapping[str, int]] = {".py": 120, ".hpp": 140, ".cpp": 140, ".cu": 140, ".cuh": 140}
MAX_FILE_LINES: Final = 400  # a file this long usually holds two concepts
MAX_TEST_LINES: Final = 600  # of tests of one file

TEXT_SUFFIXES: Final = frozenset(MAX_COLUMNS) | {".pyi", ".md", ".toml", ".txt", ".json", ".yaml", ".svg", ""}
SKIPPED_FOLDERS: Final = frozenset({".git", ".venv", ".venv-vllm", "build", "dist", "results", "__pycache__"})

# What a native layer may include, besides itself and the standard library; csrc/CMakeLists.txt says so too.
LAYERS: Final[Mapping[str, frozenset[str]]] = {
    "core": frozenset(),
    "alloc": frozenset({"core"}),
    "prefix": frozenset({"core"}),
    "device": frozenset({"core"}),
    "copy": frozenset({"core", "device"}),
    "tier": frozenset({"core", "device", "copy"}),
    "cuda": frozenset({"core", "device"}),
    "manager": frozenset({"core", "alloc", "prefix"}),
    "bindings": frozenset({"core", "alloc", "prefix", "device", "cuda", "copy", "tier", "manager"}),
}

# The top level is fixed: what belongs to the project belongs into one of these.
TOP_LEVEL: Final = frozenset(
    {
        "bench", "csrc", "docs", "examples", "kernels", "python", "tests", "tools",
        "CHANGELOG.md", "CMakeLists.txt", "CMakePresets.json", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
        "constraints.txt", "pyproject.toml",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule. `path` is relative to the root; `line` counts from 1, 0 means the whole file."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


_LEFTOVER = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b")  # the brackets keep this line out of it
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|Users|mnt)/")
_QUOTED_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
_ANGLE_INCLUDE = re.compile(r"^\s*#\s*include\s+<([^>]+)>")
_PYTHON_HEADER = re.compile(r"pybind11/|Python\.h|torch/|ATen/|c10/")
_NATIVE_IMPORT = re.compile(r"\s*(?:from residentkv import .*\b_core\b|(?:from|import) residentkv\._core\b)")
_ENVIRONMENT = re.compile(r"\bos\.(?:environ|getenv|putenv)\b")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return enumerate(text.splitlines(), start=1)


def check_text(path: Path, text: str) -> Iterator[Finding]:
    """Rules of every text file: no leftovers, no machine paths, no stray white space."""
    for number, line in _lines(text):
        if found := _LEFTOVER.search(line):
            yield Finding(path, number, f"leftover {found.group()}: finish it, or open an issue and name its number")
        if found := _MACHINE_PATH.search(line):
            yield Finding(path, number, f"path of one machine: {found.group()}")
        if line != line.rstrip():
            yield Finding(path, number, "white space at the end of the line")
    if text and not text.endswith("\n"):
        yield Finding(path, 0, "no newline at the end of the file")


def check_size(path: Path, text: str) -> Iterator[Finding]:
    """Sources fit on a screen: `MAX_COLUMNS` wide, `MAX_FILE_LINES` or `MAX_TEST_LINES` long."""
    if path.suffix not in MAX_COLUMNS:
        return
    limit = MAX_COLUMNS[path.suffix]
    for number, line in _lines(text):
        if len(line) > limit:
            yield Finding(path, number, f"{len(line)} columns; at most {limit}")
    num_lines = text.count("\n")
    longest = MAX_TEST_LINES if path.parts[0] == "tests" else MAX_FILE_LINES
    if num_lines > longest:
        yield Finding(path, 0, f"{num_lines} lines; at most {longest}: split it by concept")


def check_native(path: Path, text: str) -> Iterator[Finding]:
    """A native file includes only what its layer may; headers are guarded; Python stays in bindings/."""
    if path.parts[0] != "csrc" or path.suffix not in MAX_COLUMNS:
        return
    layer = path.parts[1]
    if path.suffix == ".hpp" and not text.startswith("#pragma once\n"):
        yield Finding(path, 1, "a header starts with #pragma once")
    for number, line in _lines(text):
        if quoted := _QUOTED_INCLUDE.match(line):
            included = quoted.group(1).split("/")[0]
            if included != layer and included not in LAYERS[layer]:
                yield Finding(path, number, f"{layer} may not include {quoted.group(1)}")
        angle = _ANGLE_INCLUDE.match(line)
        if angle and layer != "bindings" and _PYTHON_HEADER.match(angle.group(1)):
            yield Finding(path, number, f"{angle.group(1)} belongs to bindings only")


def check_native_import(path: Path, text: str) -> Iterator[Finding]:
    """The contract, its model and its judge do not know the native module (import-linter sees Python modules only)."""
    if path.parts[:2] != ("python", "residentkv") or path.parts[2] not in (
        "contract",
        "conformance",
        "microruntime",
    ):
        return
    for number, line in _lines(text):
        if _NATIVE_IMPORT.match(line):
            yield Finding(path, number, f"{path.parts[2]} does not know the native module")


def check_environment(path: Path, text: str) -> Iterator[Finding]:
    """Settings are arguments: only the command line reads the environment."""
    if path.parts[:2] != ("python", "residentkv") or path.parts[2] == "cli" or path.suffix != ".py":
        return
    for number, line in _lines(text):
        if _ENVIRONMENT.search(line):
            yield Finding(path, number, "only cli/ reads the environment")


RULES: Final[tuple[Callable[[Path, str], Iterator[Finding]], ...]] = (
    check_text,
    check_size,
    check_native,
    check_native_import,
    check_environment,
)


def check_top_level(names: frozenset[str]) -> Iterator[Finding]:
    """The top level holds what `TOP_LEVEL` lists, nothing else; a name that begins with a dot is a tool's setting."""
    for name in sorted(names):
        if not name.startswith(".") and name not in TOP_LEVEL | SKIPPED_FOLDERS:
            yield Finding(Path(name), 0, "stray entry at the top level")


def text_files(root: Path) -> Iterator[Path]:
    """Yield the project's own text files, relative to `root`."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        folders = relative.parts[:-1]
        if SKIPPED_FOLDERS.intersection(relative.parts) or any(
            part.startswith(".") and part != ".ci" for part in folders
        ):
            continue
        if path.is_file() and path.suffix in TEXT_SUFFIXES:
            yield relative


def findings(root: Path) -> Iterator[Finding]:
    """Yield everything that is wrong under `root`."""
    yield from check_top_level(frozenset(path.name for path in root.iterdir()))
    for path in text_files(root):
        text = (root / path).read_text(encoding="utf-8")
        for rule in RULES:
            yield from rule(path, text)


def main() -> int:
    """Print the findings; the exit status says whether there were any."""
    found = list(findings(ROOT))
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
