"""Compile kernels ahead of time for architectures that need not be here, and read their machine code."""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ARCHITECTURES = (80, 90, 100)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


@dataclass(frozen=True)
class Compiled:
    sass: str
    resources: str  # one line of cuobjdump: registers, stack, shared and local memory

    def count(self, instruction: str) -> int:
        return len(re.findall(rf"\b{instruction}", self.sass))

    @property
    def local_bytes(self) -> int:
        """Stack and local memory of one thread: where registers are spilled to."""
        return sum(int(size) for size in re.findall(r"\b(?:STACK|LOCAL):(\d+)", self.resources))


def compile_kernel(kernel, architecture: int, types: Mapping[str, str], constants: Mapping[str, object]) -> Compiled:
    """`types` by argument, as Triton writes them; an argument whose type ends in `:16` is divisible by 16, as the
    launch
    finds out for pointers and sizes by itself."""
    signature = {name: types[name].removesuffix(":16") if name in types else "constexpr" for name in kernel.arg_names}
    divisible = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if types.get(name, "").endswith(":16")
    }
    source = ASTSource(kernel, signature, dict(constants), divisible)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"enable_fp_fusion": True})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(compiled.asm["cubin"])
        cubin.flush()
        return Compiled(_read("nvdisasm", "-c", cubin.name), _read("cuobjdump", "-res-usage", cubin.name))


def _read(tool: str, *arguments: str) -> str:
    done = subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
