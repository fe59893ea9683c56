"""Checks the shipped lowering descriptors against their sources and writes down what came out.

Usage: python tools/lowering_audit.py --source NAME=PATH... --python vllm=PATH
Writes tests/golden/lowering-audit.json and the table of docs/lowering.md. Every row must come out as it is declared:
an audit on a machine that lacks a source is no audit. docs/lowering.md says where the sources come from.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from residentkv.lowering.checker import DescriptorVerdict, check_descriptors
from residentkv.lowering.matrix import as_markdown
from residentkv.lowering.reading import read_descriptors
from residentkv.lowering.report import as_json
from residentkv.lowering.shipped import shipped_descriptors

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden" / "lowering-audit.json"
PAGE = ROOT / "docs" / "lowering.md"
BEGIN, END = "<!-- matrix: begin -->\n", "<!-- matrix: end -->\n"


def golden_report(verdicts: Sequence[DescriptorVerdict]) -> dict[str, Any]:
    """The JSON report, with files named without their folder."""
    report = as_json(verdicts)
    for descriptor in report["descriptors"]:
        descriptor["file"] = Path(descriptor["file"]).name
    return report


def page_with(matrix: str, page: str) -> str:
    """The page with the matrix in its place."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{matrix}\n{END}{tail}"


def main() -> int:
    """Check and write; exit status 1 if a row came out otherwise than declared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--source", "--python"):
        parser.add_argument(name, action="append", default=[], metavar="NAME=PATH")
    args = parser.parse_args()
    places = [{name: Path(path) for name, _, path in (text.partition("=") for text in given)}
              for given in (args.source, args.python)]  # fmt: skip
    verdicts = check_descriptors(read_descriptors(shipped_descriptors()), *places)
    wrong = [row for verdict in verdicts for row in verdict.rows if row.label is not row.row.declared]
    for row in wrong:
        print(f"{row.row.id}: declared {row.row.declared.value}, came out {row.label.value}: {'; '.join(row.reasons)}")
    if wrong:
        return 1
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden_report(verdicts), indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page_with(as_markdown(verdicts), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
