"""Write the measured numbers of the last `make bench` into the README.

Usage: python tools/bench_table.py [RESULTS_JSON]    (default: bench/results/latest.json)

The table stands between two marker comments and is replaced as a whole, so every number in it was printed by a command.
"""

import json
import os
import platform
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
BEGIN: Final = "<!-- numbers: written by tools/bench_table.py -->"
END: Final = "<!-- end of numbers -->"


def table(cases: dict[str, dict[str, Any]]) -> str:
    """Return the Markdown table of `cases`, as bench/results/latest.json holds them."""
    rows = ["| case | median, us | goal, us | |", "|---|---:|---:|---|"]
    for name, case in cases.items():
        goal = "" if case["reach_us"] is None else f"{case['reach_us']:g}"
        median = case["p50_us"]
        shown = f"{median:,.0f}" if median >= 1000 else f"{median:.3g}"
        rows.append(f"| {name} | {shown} | {goal} | {case['accepted_miss'] or ''} |")
    return "\n".join(rows)


def with_table(text: str, cases: dict[str, dict[str, Any]], caption: str) -> str:
    """Return `text` with the numbers between the markers replaced.

    Raises
    ------
    ValueError : the text does not have the two markers, once each and in order.
    """
    body = f"{BEGIN}\n## Measured\n\n{caption}\n\n{table(cases)}\n{END}"
    changed, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: body, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"expected the markers {BEGIN} and {END} once, found {count}")
    return changed


def machine() -> str:
    """Describe the processor that the numbers belong to."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else []
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def main() -> int:
    """Rewrite the README's table."""
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "bench/results/latest.json"
    cases = json.loads(results.read_text())["cases"]
    measured = date.fromtimestamp(results.stat().st_mtime)
    caption = f"`make bench`, {measured:%Y-%m-%d}, {machine()}, Python {platform.python_version()}, no GPU:"
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(), cases, caption))
    return 0


if __name__ == "__main__":
    sys.exit(main())
