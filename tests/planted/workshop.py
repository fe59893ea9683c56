"""Copies of the package with one rule broken in each, next to a sound one.

Everything lives in build/planted: a copy of the native sources, configured once and compiled without optimisation, so
that a broken build costs one or two files. A lock lets several test processes share it. A bug in Python costs a copy of
one file.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "planted"
SOURCE = FOLDER / "source"
BUILD = FOLDER / "build"


@dataclass(frozen=True)
class Edit:
    """`old` occurs exactly once in `file` and is replaced by `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Bug:
    name: str
    edits: tuple[Edit, ...]
    test: str  # must fail on it


class StaleEditError(AssertionError):
    """The text that an edit looks for is not there exactly once: the code changed, so has the planted bug to."""


def mutated(text: str, edit: Edit) -> str:
    if (found := text.count(edit.old)) != 1:
        raise StaleEditError(f"{edit.file}: found {found} times: {edit.old}")
    return text.replace(edit.old, edit.new)


def sound_module() -> Path:
    """Folder of a module built from the sources as they are."""
    with _locked():
        _copy_sources()
        return _build("sound")


def broken_module(bug: Bug) -> Path:
    """Folder of what the bug changes, for tools/with_module.py."""
    texts: dict[str, str] = {}
    for edit in bug.edits:
        texts[edit.file] = mutated(texts.get(edit.file) or (ROOT / edit.file).read_text(), edit)
    native = {file: text for file, text in texts.items() if file.startswith("csrc/")}
    with _locked():
        folder = FOLDER / "modules" / bug.name
        for file, text in texts.items():
            if file not in native:
                target = folder / Path(file).relative_to("python")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)
        if native:
            _copy_sources(native)
            _build(bug.name)
    return folder


def run_tests(module: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    options = ["-q", "-p", "no:cacheprovider", "--hypothesis-profile=planted"]
    command = [sys.executable, "tools/with_module.py", str(module), "pytest", *options, *tests]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@contextmanager
def _locked() -> Iterator[None]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy_sources(changed: dict[str, str] | None = None) -> None:
    """Make the copy equal to the sources, `changed` apart. Equal files keep their time, so they are not compiled."""
    files = [ROOT / "CMakeLists.txt", *(path for path in (ROOT / "csrc").rglob("*") if path.is_file())]
    wanted = {path.relative_to(ROOT): path.read_text() for path in files}
    wanted |= {Path(name): text for name, text in (changed or {}).items()}
    for path in SOURCE.rglob("*"):
        if path.is_file() and path.relative_to(SOURCE) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        target = SOURCE / name
        if not target.exists() or target.read_text() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)


def _build(name: str) -> Path:
    if not (BUILD / "build.ninja").exists():
        pybind11 = _run(sys.executable, "-m", "pybind11", "--cmakedir").strip()
        options = {
            "CMAKE_BUILD_TYPE": "Planted",
            "CMAKE_CXX_FLAGS": "-O0",
            "RESIDENTKV_LTO": "OFF",
            "RESIDENTKV_WERROR": "OFF",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11,
        }
        settings = [f"-D{option}={value}" for option, value in options.items()]
        _run(_tool("cmake"), "-S", str(SOURCE), "-B", str(BUILD), "-G", "Ninja", *settings)
    _run(_tool("cmake"), "--build", str(BUILD), "-j", "2", "--target", "_core")
    [module] = BUILD.rglob("_core.*.so")
    folder = FOLDER / "modules" / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy2(module, folder / module.name)
    return folder


def _tool(name: str) -> str:
    """The environment's own tool if it has one."""
    own = Path(sys.executable).with_name(name)
    return str(own) if own.exists() else name


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
