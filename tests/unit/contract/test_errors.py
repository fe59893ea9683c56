"""Errors keep their family and their numbers, also across process borders."""

import pickle

import pytest

from residentkv.contract import errors


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (errors.ContractError, errors.ResidentKVError),
        (errors.ClaimStateError, errors.ContractError),
        (errors.InvariantError, errors.ResidentKVError),
        (errors.CudaError, errors.DeviceError),
        (errors.OutOfDeviceMemory, errors.DeviceError),
        (errors.PinnedHostError, errors.DeviceError),
        (errors.UnsupportedEngineError, errors.ResidentKVError),
        (errors.ConfigError, errors.ResidentKVError),
    ],
)
def test_family(error, family):
    assert issubclass(error, family)
    assert not issubclass(error, errors.InvariantError) or error is errors.InvariantError


@pytest.mark.parametrize(
    ("error", "numbers"),
    [
        (errors.CudaError("cudaMalloc", 2, 16), "cudaMalloc failed: code=2 stream=0x10"),
        (errors.OutOfDeviceMemory(4096), "wanted=4096 bytes"),
        (errors.UnsupportedEngineError("1.0", ">=2"), "found=1.0 wanted=>=2"),
    ],
)
def test_message_carries_numbers_and_survives_pickling(error, numbers):
    assert numbers in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
