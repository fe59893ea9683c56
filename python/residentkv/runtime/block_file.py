"""A preallocated file of equal slots, read and written past the page cache where the file system allows it.

Knows nothing of what the slots mean. Slot s is `[s * stride_bytes, + slot_bytes)`; the stride is a multiple of 4096, as
direct transfers need. Thread safety: none. The GIL is released while bytes move.
"""

import errno
import mmap
import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from residentkv.contract.errors import ContractError, DiskTierError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ALIGNMENT: Final = 4096  # of direct transfers: address, offset and length; no device in use asks for more


class BlockFile:
    """One file of `num_slots` slots of `slot_bytes` bytes.

    Parameters
    ----------
    path : created if it is not there; an existing file is kept, and grown if it is too short.
    slot_bytes, num_slots : > 0.

    Raises
    ------
    DiskTierError : the file can not be opened, locked or given its size (read-only, no room).
    """

    def __init__(self, path: Path, *, slot_bytes: int, num_slots: int) -> None:
        if slot_bytes <= 0 or num_slots <= 0:
            raise ContractError(f"a file needs slots of some bytes: slot_bytes={slot_bytes} num_slots={num_slots}")
        self.slot_bytes: Final = slot_bytes
        self.stride_bytes: Final = -(-slot_bytes // _ALIGNMENT) * _ALIGNMENT
        self._path = path
        self._fd, self.is_direct = _open(path)
        wanted = self.stride_bytes * num_slots
        try:
            self.whole_slots_found: Final = os.fstat(self._fd).st_size // self.stride_bytes
            os.posix_fallocate(self._fd, 0, wanted)
        except OSError as error:
            os.close(self._fd)
            raise DiskTierError(f"{path}: no room for {num_slots} slots, {wanted} bytes: {error.strerror}") from error

    def write(self, slot: int, data: "Buffer") -> None:
        """Write a whole slot. Durable after `sync`.

        Raises
        ------
        DiskTierError : the device failed or is full; the slot means nothing now.
        """
        source = self._view(data)
        if not self._may_go_directly(source):
            bounce = self._bounce
            bounce[: self.slot_bytes] = source
            source = bounce
        self._transfer("write", slot, source, os.pwrite)

    def read(self, slot: int, into: "Buffer") -> bool:
        """Fill `into` from a slot; False when the file ends within it.

        Raises
        ------
        DiskTierError : the device failed.
        """
        target = self._view(into)
        if self._may_go_directly(target):
            return self._transfer("read", slot, target, _read_into)
        bounce = self._bounce
        is_whole = self._transfer("read", slot, bounce, _read_into)
        target[:] = bounce[: self.slot_bytes]
        return is_whole

    def sync(self) -> None:
        """Wait until everything written is on the device.

        Raises
        ------
        DiskTierError : the device failed; what was written since the last sync means nothing.
        """
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise DiskTierError(f"{self._path}: sync failed: {error.strerror}") from error

    def close(self) -> None:
        """Close the file; nothing may be in flight."""
        os.close(self._fd)

    def _view(self, data: "Buffer") -> memoryview:
        view = memoryview(data).cast("B")
        if view.nbytes != self.slot_bytes:
            raise ContractError(f"a slot has {self.slot_bytes} bytes, got {view.nbytes}")
        return view

    def _may_go_directly(self, view: memoryview) -> bool:
        if not self.is_direct:
            return True
        address = int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])
        return address % _ALIGNMENT == 0 and view.nbytes % _ALIGNMENT == 0

    @cached_property
    def _bounce(self) -> memoryview:
        return memoryview(mmap.mmap(-1, self.stride_bytes))  # page-aligned, whatever the caller's memory is

    def _transfer(self, what: str, slot: int, view: memoryview, call: Callable[[int, memoryview, int], int]) -> bool:
        """Move the whole view; False when the file ended first."""
        done = 0
        try:
            while done < view.nbytes:
                count = call(self._fd, view[done:], slot * self.stride_bytes + done)
                if count == 0:
                    return False
                done += count
        except OSError as error:
            raise DiskTierError(f"{self._path}: {what} of slot {slot} failed: {error.strerror}") from error
        return True


def _read_into(fd: int, view: memoryview, offset: int, /) -> int:
    return os.preadv(fd, [view], offset)


def _open(path: Path) -> tuple[int, bool]:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags | os.O_DIRECT, 0o600), True
        except OSError as error:
            if error.errno != errno.EINVAL:  # which says that this file system has no direct transfers
                raise
            fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise DiskTierError(f"{path} can not be opened for writing: {error.strerror}") from error
    warnings.warn(f"{path}: no direct transfers here, the page cache is used", RuntimeWarning, stacklevel=4)
    return fd, False
