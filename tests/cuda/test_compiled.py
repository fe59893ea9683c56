"""The CUDA kernels as nvcc compiles them for real devices: resources and machine code. Nothing runs on one."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = (80, 90, 100)
KERNELS = ("gather_blocks_kernel", "scatter_blocks_kernel")
MAX_REGISTERS = 64  # 256 threads of 64 registers: four blocks fit one SM, and leave most of it to the model


def cuobjdump() -> str | None:
    found = shutil.which("cuobjdump")
    if found:
        return found
    try:
        import triton
    except ImportError:
        return None
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    return str(tool) if tool.exists() else None


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The object file and what ptxas said about it."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on this machine")
    target = tmp_path_factory.mktemp("cuda") / "copy_kernels.o"
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    command = ["nvcc", "-std=c++20", "-O3", "-Xptxas", "-v", "-I", "csrc", *targets, "-c", "csrc/cuda/copy_kernels.cu"]
    done = subprocess.run([*command, "-o", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target, done.stdout + done.stderr


def test_no_kernel_spills_and_registers_are_few(compiled, record_property):
    report = compiled[1]
    reported = re.findall(
        r"Compiling entry function '\w*?(gather_blocks_kernel|scatter_blocks_kernel)\w*' for 'sm_(\d+)'.*?"
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
        report,
        re.DOTALL,
    )
    assert {(kernel, int(arch)) for kernel, arch, *_ in reported} == {(k, a) for k in KERNELS for a in ARCHITECTURES}
    for kernel, arch, stack, stores, loads, registers in reported:
        record_property(f"registers of {kernel} for sm_{arch}", int(registers))
        assert (stack, stores, loads) == ("0", "0", "0"), f"{kernel} sm_{arch} spills"
        assert int(registers) <= MAX_REGISTERS, f"{kernel} sm_{arch}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bytes_move_by_128_bit_loads_and_stores(compiled, architecture: int):
    tool = cuobjdump()
    if tool is None:
        pytest.skip("no cuobjdump: neither the toolkit's nor triton's")
    command = [tool, "-sass", "-arch", f"sm_{architecture}", compiled[0]]
    sass = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions = re.split(r"Function : ", sass)[1:]
    assert len(functions) == len(KERNELS)
    for function in functions:
        # Eight of each at once in the full piece, and one in the rest: never narrower (the tables are read by 64 bits).
        assert len(re.findall(r"\bLDG\.E\S*\.128", function)) >= 9
        stores = re.findall(r"\bSTG\.E\S*", function)
        assert len(stores) >= 9
        assert all(store.endswith(".128") for store in stores), stores
