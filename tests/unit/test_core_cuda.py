"""The CUDA backend as Python sees it, on a machine without a device: it says so, and nothing else changes."""

import subprocess
import sys

import numpy as np
import pytest

from residentkv import _core
from residentkv.contract.errors import ContractError, DeviceError

needs_no_device = pytest.mark.skipif(_core.cuda_device() is not None, reason="this machine has a CUDA device")


@needs_no_device
def test_without_a_device_a_backend_is_a_device_error():
    arena = _core.HostArena(num_bytes=1 << 12)
    storage = np.zeros(1 << 12, np.uint8)
    with pytest.raises(DeviceError, match="CUDA"):
        _core.cuda_backend(planes=[(storage.ctypes.data, 64, 64, 0)], num_blocks=64, arena=arena)


@needs_no_device
def test_without_a_device_nothing_can_be_calibrated():
    with pytest.raises(DeviceError, match="CUDA"):
        _core.cuda_calibrate()


def test_a_backend_without_device_events_refuses_one():
    arena = _core.HostArena(num_bytes=1 << 12)
    storage = np.zeros(1 << 12, np.uint8)
    engine = _core.CopyEngine(
        planes=[(storage.ctypes.data, 64, 64, 0)],
        num_blocks=64,
        arena=arena,
        backend=_core.host_backend(num_threads=1),
        max_tickets=1,
    )
    with pytest.raises(ContractError, match="has no events"):
        engine.begin_after(1)


def test_a_process_that_loaded_the_module_ends_well():
    code = "from residentkv import _core; _core.cuda_device()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
