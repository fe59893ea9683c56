"""`residentkv conformance`: put a runtime to the litmus suite."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from residentkv.conformance.report import as_json, as_text
from residentkv.conformance.runtimes import RUNTIMES, load_factory
from residentkv.conformance.suite import Suite

_EXAMPLES: Final = """\
examples:
  residentkv conformance --runtime native
  residentkv conformance --runtime native --json --out traces
  residentkv conformance --runtime my_package.adapter:create

A runtime joins by a factory that takes residentkv.contract.protocol.RuntimeOptions and returns a ConformanceRuntime.
Exit status: 0 if every litmus passes, every control fails and the sweep is as expected; 1 if not; 2 for bad usage.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "conformance",
        help="judge a runtime by the litmus suite",
        description="Drive a runtime through the litmus suite and the capacity sweep; judge it by its traces alone.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runtime", required=True, metavar="NAME", help=f"{', '.join(RUNTIMES)} or MODULE:FACTORY")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="directory for the traces (default: a new temporary one)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the suite and print its result; exit status 1 unless the runtime conforms."""
    if ":" in args.runtime and "" not in sys.path:
        sys.path.insert(0, "")  # MODULE may lie in the current directory, as with `python -m`
    factory = load_factory(args.runtime)
    folder = Path(tempfile.mkdtemp(prefix="conformance-traces-")) if args.out is None else args.out
    folder.mkdir(parents=True, exist_ok=True)
    result = Suite(factory, folder).run()
    if args.json:
        print(json.dumps(as_json(result), indent=2))
    else:
        print(as_text(result))
        print(f"traces: {folder}")
    return 0 if result.conforms else 1
