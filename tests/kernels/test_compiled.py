"""What the compiler makes of the kernels: 128-bit accesses, no spills, tensor cores where meant. Nothing runs here."""

import pytest

pytest.importorskip("triton")

import triton.language as tl
from residentkv.kernels.copy_blocks import TILE_WORDS, copy_blocks_kernel
from residentkv.kernels.gather_blocks import gather_blocks_kernel
from residentkv.kernels.paged_decode import TILE_TOKENS, paged_decode_kernel, reduce_splits_kernel
from residentkv.kernels.reshape_and_cache import reshape_and_cache_kernel
from residentkv.kernels.scatter_blocks import scatter_blocks_kernel

from tests.kernels.compilation import ARCHITECTURES, compile_kernel

pytestmark = pytest.mark.parametrize("architecture", ARCHITECTURES)

MOVING_TYPES = {
    "blocks_ptr": "*i32:16",
    "slots_ptr": "*i32:16",
    "pairs_ptr": "*i32:16",
    "plane_stride": "i64:16",
    "block_stride": "i32:16",
    "slot_stride": "i32:16",
    "run_words": "i32:16",
}


@pytest.mark.parametrize(
    "kernel", [copy_blocks_kernel, gather_blocks_kernel, scatter_blocks_kernel], ids=lambda k: k.__name__
)
def test_copies_move_128_bits_an_access(kernel, architecture: int) -> None:
    types = {name: kind for name, kind in MOVING_TYPES.items() if name in kernel.arg_names}
    compiled = compile_kernel(kernel, architecture, types, {"TILE": TILE_WORDS})
    # 2048 words by 128 threads of 4 words: four loads and stores. The pair's two ids are the only narrow loads.
    assert compiled.count(r"LDG\.E\.128") == compiled.count(r"STG\.E\.128") == 4
    assert compiled.count(r"LDG") - compiled.count(r"LDG\.E\.128") == 2
    assert compiled.count(r"STG") == 4
    assert compiled.local_bytes == 0


def test_sizes_of_no_known_divisor_lose_the_wide_access(architecture: int) -> None:
    """The control: without what the launcher checks, the same kernel is compiled to narrow accesses."""
    types = {
        name: kind.removesuffix(":16") for name, kind in MOVING_TYPES.items() if name in copy_blocks_kernel.arg_names
    }
    assert compile_kernel(copy_blocks_kernel, architecture, types, {"TILE": TILE_WORDS}).count(r"LDG\.E\.128") == 0


@pytest.mark.parametrize(("compute", "stored", "mantissa"), [("fp16", "fp16", 0), ("bf16", "u8", 3), ("bf16", "u8", 2)])
def test_storing_spills_nothing(compute: str, stored: str, mantissa: int, architecture: int) -> None:
    strides = dict.fromkeys([name for name in reshape_and_cache_kernel.arg_names if name.endswith("stride")], "i32:16")
    types = strides | {
        "keys_ptr": f"*{compute}:16",
        "values_ptr": f"*{compute}:16",
        "key_blocks_ptr": f"*{stored}:16",
        "value_blocks_ptr": f"*{stored}:16",
        "slots_ptr": "*i64:16",
        "num_slots": "i32:16",
        "key_scale": "fp32",
        "value_scale": "fp32",
        "block_size": "i32:16",
        "num_heads": "i32",
        "head_dim": "i32:16",
    }
    compiled = compile_kernel(
        reshape_and_cache_kernel, architecture, types, {"HEADS": 8, "DIM": 128, "MANTISSA": mantissa}
    )
    assert compiled.local_bytes == 0
    assert compiled.count(r"LDG\.E\.128") >= 2
    assert compiled.count(r"STG\.E\.(64|128)") >= 2  # eight elements a thread: 16 bytes, or 8 of fp8


# fp8 storage multiplied in float32 is left out: it spills (336 bytes a thread on sm_90). Compute in 16 bits there.
DECODED = [("fp32", 0), *((compute, mantissa) for compute in ("fp16", "bf16") for mantissa in (0, 3, 2))]


@pytest.mark.parametrize(("compute", "mantissa"), DECODED)
def test_decoding_uses_tensor_cores_and_spills_nothing(compute: str, mantissa: int, architecture: int) -> None:
    stored = "u8" if mantissa else compute
    strides = dict.fromkeys([name for name in paged_decode_kernel.arg_names if name.endswith("stride")], "i32:16")
    types = strides | {
        "query_ptr": f"*{compute}:16",
        "key_blocks_ptr": f"*{stored}:16",
        "value_blocks_ptr": f"*{stored}:16",
        "block_table_ptr": "*i32:16",
        "context_lens_ptr": "*i32:16",
        "partial_ptr": "*fp32:16",
        "log_weight_ptr": "*fp32:16",
        "factor": "fp32",
        "block_size": "i32:16",
        "window": "i32:16",
        "tokens_per_split": "i32:16",
        "head_dim": "i32:16",
    }
    constants = {"GROUP": 4, "GROUP_PAD": 16, "DIM": 128, "TILE": TILE_TOKENS, "MANTISSA": mantissa}
    constants["DOT_DTYPE"] = {"fp32": tl.float32, "fp16": tl.float16, "bf16": tl.bfloat16}[compute]
    compiled = compile_kernel(paged_decode_kernel, architecture, types, constants)
    assert compiled.local_bytes == 0
    # float32 is multiplied as such (ieee): by FMA, as tensor cores would round it to tf32.
    assert (compiled.count("HMMA") > 0) == (compute != "fp32")
    assert (compiled.count("FFMA") > 500) == (compute == "fp32")


def test_the_reduction_spills_nothing(architecture: int) -> None:
    types = {
        "partial_ptr": "*fp32:16",
        "log_weight_ptr": "*fp32:16",
        "output_ptr": "*bf16:16",
        "value_scale": "fp32",
        "num_splits": "i32",
        "head_dim": "i32:16",
    }
    compiled = compile_kernel(reduce_splits_kernel, architecture, types, {"SPLITS": 16, "DIM": 128})
    assert compiled.local_bytes == 0
