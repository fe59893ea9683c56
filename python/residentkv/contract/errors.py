"""What goes wrong, by who has to act. "Not now" is not here: it is a value (`decision.py`).

| class | whose fault | the caller should |
|---|---|---|
| ContractError | the caller broke a documented requirement; nothing changed | fix the call |
| InvariantError | our own bookkeeping is wrong; the manager refuses further work | stop, keep events and seed |
| DeviceError | the outside world failed; state rolled back | retry or degrade |
| UnsupportedEngineError, ConfigError | the installation or its settings | change them |
"""


class ResidentKVError(Exception):
    """Base of every error this package raises on purpose."""


class ContractError(ResidentKVError):
    """The call broke a documented requirement. Nothing changed."""


class ClaimStateError(ContractError):
    """The claim is unknown, or its life cycle does not allow this transition. Nothing changed."""


class InvariantError(ResidentKVError):
    """Our bookkeeping contradicts itself. The manager that raised it does no further work."""


class DeviceError(ResidentKVError):
    """A device, driver or host resource failed. State was rolled back."""


class CudaError(DeviceError):
    """A CUDA call failed.

    Parameters
    ----------
    call : name of the failed call.
    code : CUDA error code.
    stream : handle of the stream it was issued to, 0 for the default stream.
    """

    def __init__(self, call: str, code: int, stream: int = 0) -> None:
        super().__init__(f"{call} failed: code={code} stream={stream:#x}")
        self.call = call
        self.code = code
        self.stream = stream

    def __reduce__(self) -> tuple[type["CudaError"], tuple[str, int, int]]:
        return type(self), (self.call, self.code, self.stream)


class OutOfDeviceMemory(DeviceError):
    """The device has no room for an allocation of `num_bytes`."""

    def __init__(self, num_bytes: int) -> None:
        super().__init__(f"out of device memory: wanted={num_bytes} bytes")
        self.num_bytes = num_bytes

    def __reduce__(self) -> tuple[type["OutOfDeviceMemory"], tuple[int]]:
        return type(self), (self.num_bytes,)


class PinnedHostError(DeviceError):
    """Page-locked host memory could not be had."""


class DiskTierError(DeviceError):
    """The disk tier's folder, file or metadata can not be used: held by another process, read-only, full or damaged."""


class UnsupportedEngineError(ResidentKVError):
    """An integration met a version of its engine that it does not know."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"unsupported engine: found={found} wanted={wanted}")
        self.found = found
        self.wanted = wanted

    def __reduce__(self) -> tuple[type["UnsupportedEngineError"], tuple[str, str]]:
        return type(self), (self.found, self.wanted)


class ConfigError(ResidentKVError):
    """A setting is unknown or out of range."""
