"""`residentkv lowering`: what a runtime feature may count as, decided from verified evidence."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from residentkv.contract.errors import ConfigError

_EXAMPLES: Final = """\
examples:
  residentkv lowering check                                   the descriptors that come with this package
  residentkv lowering check my.toml --source mine=./checkout --json
  residentkv lowering matrix --html matrix.html
  residentkv lowering explain residentkv-hard
  residentkv lowering verify --installed vllm

--source NAME=PATH says where [source.NAME] of a descriptor is: an unpacked wheel, a folder that packages are installed
in, a wheel, or a git repository. Without it, a package is looked for in this interpreter. --python NAME=PATH names an
interpreter that has runtime NAME, for probes.
exit status: 0; 1 if a row declares a better label than it may have, or what is installed differs; 2 for input that
can not be read. Evidence that can not be verified here is no evidence: a row may come out worse, never better.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "lowering",
        help="decide what a runtime feature may count as",
        description="Judge descriptors by evidence that a machine can verify.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="label, unmet obligations and reasons of every row")
    check.add_argument("files", nargs="*", type=Path, metavar="FILE", help="descriptors (default: the shipped ones)")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    matrix = actions.add_parser("matrix", help="every row's label as a Markdown table")
    matrix.add_argument("files", nargs="*", type=Path, metavar="FILE", help="descriptors (default: the shipped ones)")
    matrix.add_argument("--html", type=Path, metavar="PATH", help="write an HTML page instead")
    explain = actions.add_parser("explain", help="everything about one row")
    explain.add_argument("row", metavar="ROW", help="id of the row")
    explain.add_argument("files", nargs="*", type=Path, metavar="FILE", help="descriptors (default: the shipped ones)")
    verify = actions.add_parser("verify", help="how what is installed differs from what was audited")
    verify.add_argument("--installed", required=True, metavar="RUNTIME", help="name of a shipped descriptor's runtime")
    verify.add_argument("--path", type=Path, metavar="DIR", help="folder of packages (default: this interpreter's)")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    bad = actions.add_parser("bad", help="run the bad-lowering suite: every tempting mistake gets its label and reason")
    bad.add_argument("--json", action="store_true", help="print one JSON object")
    actions.add_parser("schema", help="print the JSON Schema of descriptors")
    for action in (check, matrix, explain):
        action.add_argument("--source", action="append", default=[], type=_named_path, metavar="NAME=PATH")
        action.add_argument("--python", action="append", default=[], type=_named_path, metavar="NAME=PATH")


def run(args: argparse.Namespace) -> int:
    """Run one action.

    Raises
    ------
    ConfigError : a descriptor is none, or names what there is not.
    OSError : a file can not be read or written.
    """
    actions = {
        "check": _check, "matrix": _matrix, "explain": _explain, "verify": _verify, "bad": _bad, "schema": _schema
    }  # fmt: skip
    return actions[args.action](args)


def _check(args: argparse.Namespace) -> int:
    from residentkv.lowering.checker import check_descriptors
    from residentkv.lowering.reading import read_descriptors
    from residentkv.lowering.report import as_json, as_text

    verdicts = check_descriptors(read_descriptors(_files(args)), dict(args.source), dict(args.python))
    report = as_json(verdicts)
    print(json.dumps(report, indent=2) if args.json else as_text(verdicts))
    return 0 if report["ok"] else 1


def _matrix(args: argparse.Namespace) -> int:
    from residentkv.lowering.checker import check_descriptors
    from residentkv.lowering.matrix import as_html, as_markdown
    from residentkv.lowering.reading import read_descriptors

    verdicts = check_descriptors(read_descriptors(_files(args)), dict(args.source), dict(args.python))
    if args.html is None:
        print(as_markdown(verdicts), end="")
    else:
        args.html.write_text(as_html(verdicts), encoding="utf-8")
    return 0


def _explain(args: argparse.Namespace) -> int:
    from residentkv.lowering.checker import check_row
    from residentkv.lowering.reading import read_descriptors
    from residentkv.lowering.report import explain

    descriptors = read_descriptors(_files(args))
    for descriptor in descriptors:
        for row in descriptor.rows:
            if row.id == args.row:
                verdict = check_row(row, descriptor, dict(args.source), dict(args.python))
                print(explain(f"{descriptor.title} {descriptor.version}", verdict))
                return 1 if verdict.is_overstated else 0
    known = ", ".join(row.id for descriptor in descriptors for row in descriptor.rows)
    raise ConfigError(f"no row {args.row!r}; there are {known}")


def _verify(args: argparse.Namespace) -> int:
    from residentkv.lowering.difference import compare_installed

    comparisons = compare_installed(args.installed, args.path)
    if args.json:
        print(json.dumps([comparison.as_fields() for comparison in comparisons], indent=2))
    else:
        for comparison in comparisons:
            print("\n".join(comparison.as_lines()))
    return 0 if all(comparison.is_same for comparison in comparisons) else 1


def _bad(args: argparse.Namespace) -> int:
    from residentkv.lowering.bad.suite import run_suite

    results = run_suite()
    wrong = [result for result in results if not result.holds]
    if args.json:
        print(json.dumps({"ok": not wrong, "cases": [result.as_fields() for result in results]}, indent=2))
    else:
        for result in results:
            print(f"{'ok   ' if result.holds else 'WRONG'} {result.label:<14} {result.case}: {result.reason}")
        print(f"{len(results) - len(wrong)} of {len(results)} mistakes get the label and the reason they must")
    return 1 if wrong else 0


def _schema(args: argparse.Namespace) -> int:
    from residentkv.lowering.reading import descriptor_schema

    del args
    print(json.dumps(descriptor_schema(), indent=2))
    return 0


def _files(args: argparse.Namespace) -> Sequence[Path]:
    from residentkv.lowering.shipped import shipped_descriptors

    return args.files or shipped_descriptors()


def _named_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)
