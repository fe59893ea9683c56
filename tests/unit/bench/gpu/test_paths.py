"""The parts of bench-gpu that need no GPU."""

import json
import subprocess
import sys

import pytest

import bench.gpu.__main__ as command
from bench.gpu.model_shape import LLAMA_8B
from bench.gpu.paths import PathTime, favouring, parse, table
from residentkv import _core

TEXT = """residentkv copy calibration 1
device Some Device 80GB
driver 13000
runtime 13000
offload loop 4096 16 0.001
offload kernel 4096 16 1.6384e-05
restore loop 4096 16 0.002
"""


def test_rows_are_read_with_their_speed():
    rows = parse(TEXT)
    assert rows[1] == PathTime("offload", "kernel", 4096, 16, 1.6384e-05)
    assert rows[1].gb_per_s == pytest.approx(4.0)


def test_a_bent_table_keeps_its_rows_and_device():
    bent = favouring(TEXT, "loop")
    assert bent.splitlines()[:4] == TEXT.splitlines()[:4]
    assert [(r.path, r.seconds) for r in parse(bent)] == [("loop", 1e-6), ("kernel", 1e-3), ("loop", 1e-6)]
    with pytest.raises(ValueError, match="no staged"):
        favouring(TEXT, "staged")


def test_the_table_stars_the_fastest_and_marks_what_is_missing():
    _, offload, restore = table(parse(TEXT))
    assert "4.00*" in offload
    assert "0.07 " in offload
    assert restore.split()[:4] == ["restore", "4096", "16", "0.03*"]
    assert restore.split()[4:] == ["-", "-", "-"]


def test_the_model_s_sizes_are_the_published_ones():
    assert LLAMA_8B.run_bytes == 64 * 1024  # 16 tokens, keys and values, 8 heads of 128, 2 bytes
    assert LLAMA_8B.block_bytes == 2 << 20
    assert LLAMA_8B.num_blocks(1025) == 65
    parameters = LLAMA_8B.num_layers * sum(a * b for a, b in LLAMA_8B.weights)
    assert parameters == 6_979_321_856  # of 8.03e9: the rest are embeddings and norms


def test_results_are_shown_with_the_machine_last_and_survive_json():
    results = json.loads(
        json.dumps(
            {
                "machine": "box",
                "device": "Some Device",
                "model": "a model",
                "ceiling_gb_per_s": {"offload": 25.0, "restore": 26.0},
                "calibration": TEXT,
                "exact_round_trip": {"loop": True, "kernel": False},
                "slowdown_of_matrix_products": {"loop": 1.01, "kernel": 1.2},
                "claims": [{"num_tokens": 1024, "restore_s": 0.01, "recompute_s": 0.05}],
            }
        )
    )
    lines = command.report(results)
    assert lines[-1] == "Some Device on box"
    assert any("kernel: round trip WRONG" in line and "1.20 times" in line for line in lines)
    assert any("1024 tokens: restore 10.0 ms, recompute 50.0 ms, 5.0 times faster" in line for line in lines)


@pytest.mark.skipif(_core.cuda_device() is not None, reason="this machine has a CUDA device")
def test_without_a_gpu_it_says_so_and_exits_2():
    done = subprocess.run([sys.executable, "-m", "bench.gpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no CUDA device" in done.stderr
    assert done.stdout == ""
