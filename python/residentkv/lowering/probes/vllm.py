"""Starts a probe of vLLM in the interpreter that has it. Nothing of vLLM is loaded into this process."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from residentkv.lowering.sources import UnverifiedError

_TIMEOUT_SECONDS: Final = 300
_MODULE: Final = "residentkv.lowering.probes.vllm_suite"


def run_vllm(adapter: str, python: Path | None, folder: Path) -> str:
    """Run the suite of `adapter` (a name in `vllm_suite.ADAPTERS`) in `python`, by default this interpreter.

    Returns
    -------
    The version of vLLM that ran.

    Raises
    ------
    UnverifiedError : no interpreter has vLLM, or the run failed.
    """
    if python is None:
        if importlib.util.find_spec("vllm") is None:
            raise UnverifiedError("vllm is not installed here: name an interpreter that has it with --python vllm=PATH")
        python = Path(sys.executable)
    # Only our package goes onto the other interpreter's path, not everything that lies beside it here.
    with tempfile.TemporaryDirectory(prefix="residentkv-probe-") as path:
        Path(path, "residentkv").symlink_to(_package_folder())
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": path,
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "VLLM_NO_USAGE_STATS": "1",
        }
        command = [str(python), "-m", _MODULE, adapter, str(folder.resolve())]
        try:
            ended = subprocess.run(  # noqa: S603 - a module of this package in the interpreter the user named
                command,
                env=environment,
                cwd=path,
                capture_output=True,
                text=True,
                check=False,
                timeout=_TIMEOUT_SECONDS,
            )
        except OSError as error:
            raise UnverifiedError(f"{python} can not be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise UnverifiedError(f"the probe took more than {_TIMEOUT_SECONDS} s") from None
    if ended.returncode != 0:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise UnverifiedError(f"the probe failed: {last}")
    try:
        return str(json.loads(ended.stdout.strip().splitlines()[-1])["version"])
    except (ValueError, IndexError, KeyError, TypeError):
        raise UnverifiedError("the probe did not say which version it met") from None


def _package_folder() -> Path:
    """The folder of this package, which is two above this module's."""
    return Path(__file__).resolve().parent.parent.parent
