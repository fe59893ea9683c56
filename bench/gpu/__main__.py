"""`python -m bench.gpu`: what copies cost on this machine's GPU, as a table and as JSON; exits 2 without a GPU."""

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any, Final

from bench.gpu.model_shape import LLAMA_8B
from bench.gpu.paths import favouring, parse, table
from residentkv import _core

_RESULTS: Final = Path(__file__).resolve().parents[1] / "results" / "gpu.json"
_CLAIM_TOKENS: Final = (1024, 8192, 32768)
_NO_DEVICE: Final = 2


def missing() -> str | None:
    """Why nothing can be measured here; None when it can."""
    if _core.cuda_device() is None:
        return "no CUDA device, or residentkv was built without a CUDA compiler"
    import torch

    return None if torch.cuda.is_available() else "this torch does not see the CUDA device: install a build with CUDA"


def measure() -> dict[str, Any]:
    """Everything, in the order of the report."""
    from bench.gpu import copies

    calibration = _core.cuda_calibrate(num_repeats=5)
    rows = parse(calibration)
    paths = sorted({row.path for row in rows})
    return {
        "machine": platform.node(),
        "device": _core.cuda_device(),
        "model": LLAMA_8B.name,
        "ceiling_gb_per_s": copies.ceiling_gb_per_s(),
        "calibration": calibration,
        "exact_round_trip": {
            path: copies.round_trip_is_exact(LLAMA_8B, favouring(calibration, path)) for path in paths
        },
        "slowdown_of_matrix_products": {
            path: copies.slowdown(LLAMA_8B, favouring(calibration, path)) for path in paths
        },
        "claims": [
            {
                "num_tokens": num_tokens,
                "restore_s": copies.restore_seconds(LLAMA_8B, num_tokens, calibration),
                "recompute_s": copies.recompute_seconds(LLAMA_8B, num_tokens),
            }
            for num_tokens in _CLAIM_TOKENS
        ],
    }


def report(results: dict[str, Any]) -> list[str]:
    """Lines for people. Ends with the machine's name."""
    ceiling = results["ceiling_gb_per_s"]
    lines = [*table(parse(results["calibration"])), ""]
    lines.append(
        f"ceiling: offload {ceiling['offload']:.1f} GB/s, restore {ceiling['restore']:.1f} GB/s (one copy, page-locked)"
    )
    for path, is_exact in results["exact_round_trip"].items():
        slower = results["slowdown_of_matrix_products"][path]
        lines.append(
            f"{path}: round trip {'exact' if is_exact else 'WRONG'}; "
            f"matrix products beside it take {slower:.2f} times as long"
        )
    lines.append(
        f"claims of {results['model']}: restored and verified, against the matrix products of its prefill "
        "(less than a real one)"
    )
    for claim in results["claims"]:
        ratio = claim["recompute_s"] / claim["restore_s"]
        lines.append(
            f"{claim['num_tokens']:>7} tokens: restore {claim['restore_s'] * 1e3:.1f} ms, "
            f"recompute {claim['recompute_s'] * 1e3:.1f} ms, {ratio:.1f} times faster"
        )
    lines.append(f"{results['device']} on {results['machine']}")
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, save. Exit status 1 when a round trip was not exact, 2 without a device."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--output", type=Path, default=_RESULTS, help="where the JSON goes")
    options = parser.parse_args(arguments)
    why = missing()
    if why is not None:
        print(f"bench-gpu: {why}", file=sys.stderr)
        return _NO_DEVICE
    results = measure()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print("\n".join(report(results)))
    print(f"saved to {options.output}")
    return 0 if all(results["exact_round_trip"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
