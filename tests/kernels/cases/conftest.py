"""Cases for Triton kernels, run by tests/kernels/test_interpreted.py and tests/gpu/test_kernels.py in processes of
their own:
Triton decides when a kernel is defined, by TRITON_INTERPRET, whether it is compiled or interpreted."""

import pytest
import torch
import triton


@pytest.fixture
def device() -> torch.device:
    return torch.device("cpu" if triton.knobs.runtime.interpret else "cuda:0")
