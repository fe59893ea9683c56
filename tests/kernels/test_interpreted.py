"""The kernels in Triton's interpreter against their references, and changed kernels that the same cases must catch."""

import shutil
from pathlib import Path

import pytest

from tests.kernels.processes import ROOT, Execution, run_cases

pytest.importorskip("triton")


@pytest.mark.parametrize("name", ["moving.py", "storing.py", "decoding.py"])
def test_kernels_agree_with_their_references(name: str) -> None:
    done = run_cases([name], Execution.INTERPRETED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


# (kernel, right, wrong, the case that must fail)
MUTATIONS = {
    "copies the wrong way": (
        "copy_blocks", "source * block_stride + words, mask", "target * block_stride + words, mask",
        "moving.py::test_copy_blocks",
    ),
    "copies past the run": ("copy_blocks", "inside = words < run_words", "inside = words < run_words + 4",
        "moving.py::test_copy_blocks_of_a_storage_with_gaps"),
    "packs planes at the wrong place": (
        "gather_blocks", "plane.to(tl.int64) * run_words", "(2 - plane).to(tl.int64) * run_words",
        "moving.py::test_gather_and_scatter_blocks",
    ),
    "unpacks one tile only": (
        "scatter_blocks", "words = tile * TILE", "words = 0 * TILE", "moving.py::test_gather_and_scatter_blocks",
    ),
    "values into the keys": ("reshape_and_cache", "value_blocks_ptr + target", "key_blocks_ptr + target",
        "storing.py::test_tokens_land_in_their_slots"),
    "stores padding": ("reshape_and_cache", "tl.load(slots_ptr + token)", "tl.maximum(tl.load(slots_ptr + token), 0)",
        "storing.py::test_tokens_land_in_their_slots"),
    "stores behind the storage": ("reshape_and_cache", "slot >= num_slots", "slot > num_slots",
        "storing.py::test_a_slot_outside_stores_nothing"),
    "ties away from even": ("fp8_codec", ") + odd) >>", ") + 1) >>",
        "storing.py::test_fp8_ties_between_float32_neighbours"),
    "overflow is infinite": ("fp8_codec", "else 0x7B", "else 0x7C", "storing.py::test_fp8_codes_of_every_half"),
    "flushes subnormals": ("fp8_codec", "subnormal, tl.minimum", "0, tl.minimum",
        "storing.py::test_fp8_codes_of_every_half"),
    "decodes with another bias": ("fp8_codec", "* 256.0", "* 128.0", "decoding.py::test_fp8_storage"),
    "reads unseen tokens": ("paged_decode", "inside = seen[:, None] &", "inside = (positions >= 0)[:, None] &",
        "decoding.py::test_contexts_splits_and_windows"),
    "window one too long": ("paged_decode", "context_len - window, 0", "context_len - window - 1, 0",
        "decoding.py::test_contexts_splits_and_windows"),
    "forgets the old average": ("paged_decode", "average * fade[:, None] +", "average +",
        "decoding.py::test_contexts_splits_and_windows[None-64-NHD]"),
    "splits weigh the same": ("paged_decode",
        "weight = tl.exp2(tl.load(log_weight_ptr + row * num_splits + split) - highest)",
        "weight = 1.0", "decoding.py::test_contexts_splits_and_windows"),
    "no running maximum": ("paged_decode", "raised = tl.maximum(highest, tl.max(scores, 1))",
        "raised = tl.zeros([GROUP_PAD], tl.float32)", "decoding.py::test_large_scores_do_not_overflow"),
    "another group's KV head": ("paged_decode", "heads = kv_head * GROUP + group", "heads = kv_head + group",
        "decoding.py::test_heads_and_dtypes"),
}  # fmt: skip


# A process each: a few on every change, all of them in `make test-long`.
EVERY_CHANGE = {"copies the wrong way", "packs planes at the wrong place", "stores padding", "window one too long"}


@pytest.mark.parametrize(
    "name", [name if name in EVERY_CHANGE else pytest.param(name, marks=pytest.mark.slow) for name in MUTATIONS]
)
def test_a_changed_kernel_is_caught(name: str, tmp_path: Path) -> None:
    kernel, right, wrong, case = MUTATIONS[name]
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "kernels" / f"{kernel}.py"
    source = file.read_text()
    assert source.count(right) == 1, "the kernel changed, so has the mutation to"
    file.write_text(source.replace(right, wrong))
    done = run_cases([case], Execution.INTERPRETED, kernels=tmp_path / "kernels")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
