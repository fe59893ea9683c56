"""Callgrind's client requests from Python: count only what happens between two points of this process.

A request is a magic sequence of rotates that valgrind recognises and every other processor ignores (valgrind.h,
`__SPECIAL_INSTRUCTION_PREAMBLE` for amd64). It is assembled here, so that no compiler is needed to measure.
"""

import ctypes
import mmap
import platform
from typing import Final

# uint64 request(uint64 arguments[6]): rax = arguments, rdx = default answer, rotates of rdi by 128 in all, xchg rbx.
_CODE: Final = bytes.fromhex(
    "53 48 89 f8 31 d2 48 c1 c7 03 48 c1 c7 0d 48 c1 c7 3d 48 c1 c7 33 48 87 db 48 89 d0 5b c3"
)
_CALLGRIND: Final = (ord("C") << 24) | (ord("T") << 16)
_RUNNING_ON_VALGRIND: Final = 0x1001
_TOGGLE_COLLECT, _DUMP_STATS_AT, _START = _CALLGRIND + 2, _CALLGRIND + 3, _CALLGRIND + 4
_Arguments: Final = ctypes.c_uint64 * 6


class Collection:
    """Turns callgrind's counting on and off.

    Raises
    ------
    RuntimeError : not under valgrind, or not on x86-64.
    """

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise RuntimeError(f"client requests are written for x86_64, this is {platform.machine()}")
        self._memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(_CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.POINTER(_Arguments))(address)
        self._toggle = _Arguments(_TOGGLE_COLLECT, 0, 0, 0, 0, 0)
        if self._call(_Arguments(_RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0)) == 0:
            raise RuntimeError("not under valgrind")

    def start(self) -> None:
        """Instrument from here on; until now the process ran nearly unhindered."""
        self._call(_Arguments(_START, 0, 0, 0, 0, 0))

    def toggle(self) -> None:
        """Begin or end counting."""
        self._call(self._toggle)

    def dump(self, label: str) -> None:
        """Write the counts so far under `label`, and begin again at zero."""
        text = ctypes.create_string_buffer(label.encode())
        self._call(_Arguments(_DUMP_STATS_AT, ctypes.addressof(text), 0, 0, 0, 0))
