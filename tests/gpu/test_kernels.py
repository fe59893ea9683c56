"""The cases of tests/kernels compiled and run on a CUDA device, at full tolerances."""

import pytest

from tests.kernels.processes import Execution, run_cases


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["moving.py", "storing.py", "decoding.py"])
def test_compiled_kernels_agree_with_their_references(name: str) -> None:
    pytest.importorskip("triton")
    done = run_cases([name], Execution.COMPILED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
