import os
import subprocess
import sys
from pathlib import Path

import residentkv._core

ROOT = Path(__file__).resolve().parents[3]


def run_with_module(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/with_module.py"), str(folder), *arguments]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_module_of_the_folder_is_used(tmp_path: Path):
    installed = Path(residentkv._core.__file__)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / installed.name).symlink_to(installed)
    (tmp_path / "probe.py").write_text("import residentkv._core as c, sys; print(c.__file__, sys.argv[1:])")
    code = run_with_module(tmp_path, "probe", "--flag")
    assert code.stderr == ""
    assert code.stdout == f"{tmp_path / 'deep' / installed.name} ['--flag']\n"


def test_python_sources_of_the_folder_are_used(tmp_path: Path):
    replaced = tmp_path / "residentkv" / "contract" / "claim.py"
    replaced.parent.mkdir(parents=True)
    replaced.write_text("ANSWER = 42")
    (tmp_path / "probe.py").write_text(
        "from residentkv.contract import claim, errors; print(claim.ANSWER, errors.__file__)"
    )
    code = run_with_module(tmp_path, "probe")
    assert code.stderr == ""
    assert code.stdout == f"42 {Path(residentkv.__file__).parent / 'contract' / 'errors.py'}\n"


def test_folder_without_a_module_is_an_error(tmp_path: Path):
    result = run_with_module(tmp_path, "probe")
    assert result.returncode == 1
    assert "expected one native module or Python sources, found 0 and 0" in result.stderr
