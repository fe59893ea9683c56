"""Runs the table, counts instructions, asks the peers, prints everything and writes results/latest.json.

Usage: python -m bench [--smoke] [--only TEXT] [--vllm-python INTERPRETER]      (from the root of the repository)

Exit status 1 if the gate (gate.py) found a regression, or if a case could not prove that it did its work.
"""

import argparse
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bench.cases import CASES
from bench.gate import regressions
from bench.instructions.callgrind import Counts, count_instructions, why_not_here
from bench.peers.subprocesses import default_vllm_python, run_vllm
from bench.ratios import RATIOS, measure
from bench.results import FOLDER, Results, read_benchmarks
from bench.tables import show

_ROOT: Final = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run what was asked for."""
    arguments = _parse()
    results = _run_table(arguments)
    for case in RATIOS:
        if arguments.only is None or arguments.only in case.name:
            turns = case.smoke_turns if arguments.smoke else case.full_turns
            results.ratios[case.name] = measure(case, turns)
    counts = None if arguments.only else _count(arguments, results)
    python = arguments.vllm_python or default_vllm_python()
    if python is None:
        results.peers["vllm"] = {"skipped": "no interpreter with vllm: pass --vllm-python"}
    else:
        results.peers["vllm"] = run_vllm(python, num_runs=200 if arguments.smoke else 1_000, root=_ROOT)
    show(results)
    path = FOLDER / "latest.json"
    results.write(path)
    print(f"\nwrote {path.relative_to(_ROOT)}")
    found = [] if arguments.only else list(regressions(results, counts))
    for sentence in found:
        print(f"REGRESSION  {sentence}")
    return 1 if found else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed of the public Python API.")
    parser.add_argument("--smoke", action="store_true", help="few runs of each case: under two minutes")
    parser.add_argument(
        "--only", metavar="TEXT", help="only cases with TEXT in their name; no gate, no instruction counts"
    )
    parser.add_argument("--vllm-python", metavar="INTERPRETER", help="interpreter that has vllm, for the side by side")
    return parser.parse_args()


def _run_table(arguments: argparse.Namespace) -> Results:
    """Run every case in one pytest process.

    Raises
    ------
    SystemExit : a case failed.
    """
    mode = "smoke" if arguments.smoke else "full"
    if arguments.only and not any(arguments.only in case.name for case in CASES):
        return Results(mode, {}, {}, {})
    FOLDER.mkdir(exist_ok=True)
    report = FOLDER / "pytest-benchmark.json"
    command = [sys.executable, "-m", "pytest", "bench/test_speed.py", "-q", "-p", "no:cacheprovider", "--timeout=900"]
    command += ["--benchmark-enable", "--benchmark-quiet", f"--benchmark-json={report}"]
    command += ["--smoke"] if arguments.smoke else []
    command += ["-k", arguments.only] if arguments.only else []
    if subprocess.run(command, cwd=_ROOT, check=False).returncode != 0:  # noqa: S603 - our own interpreter
        sys.exit("a case failed: nothing was written")
    return read_benchmarks(report, mode)


def _count(arguments: argparse.Namespace, results: Results) -> Counts | None:
    reason = why_not_here()
    if reason is not None:
        results.instructions = {"skipped": reason}
        return None
    counts = count_instructions(*((500, 16) if arguments.smoke else (10_000, 64)))
    results.instructions = asdict(counts)
    return counts


if __name__ == "__main__":
    sys.exit(main())
