"""What pip installs: the wheel, built as a user builds it, holds the package and works outside the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("residentkv-*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(wheel: Path):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")]
    package = {name for name in names if name.startswith("residentkv/")}
    native = {name for name in package if name.endswith(".so")}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"residentkv"}
    assert [name.split(".")[0] for name in native] == ["residentkv/_core"]
    sources = [path for path in (ROOT / "python/residentkv").rglob("*") if path.is_file()]
    written = {str(path.relative_to(ROOT / "python")) for path in sources if "__pycache__" not in path.parts}
    written |= {f"residentkv/kernels/{path.name}" for path in (ROOT / "kernels").glob("*.py")}
    assert package - native == written


@pytest.mark.slow
def test_wheel_works_outside_the_repository(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import residentkv._core as core; print(core.__file__)"
    # -S: without the editable installation of this repository; numpy comes from where this test found it.
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(np.__file__).parent.parent}"},
    )
    assert Path(result.stdout.strip()).is_relative_to(tmp_path)


def test_import_is_lazy():
    heavy = "{'numpy', 'torch', 'triton', 'residentkv._core', 'residentkv.kernels'}"
    code = f"import sys, residentkv; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "[]\n"
