"""`residentkv gate`: judge a trace by a gate of contract.md section 7."""

import argparse
import json
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from residentkv.conformance.gates import connector, offload

_EXAMPLES: Final = """\
examples:
  residentkv gate offload run.jsonl                           every claim is judged; one must pass
  residentkv gate offload run.jsonl --claim system-prompt --json | jq .missing
  residentkv gate connector engine.jsonl --claim a --others b,c
  residentkv gate connector engine.jsonl --verdict failure_outcome
  residentkv gate offload <(zcat run.jsonl.gz)                a pipe will do

Exit status: 0 pass, 1 fail, 2 unreadable input. docs/gates.md explains every name that can be missing.
"""
_VERDICTS: Final = ("observation", "failure_outcome", "attribution")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "gate",
        help="judge what a trace proves about a claim",
        description="Judge a trace by itself. What it does not show is missing; the gates fail closed.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    gates = parser.add_subparsers(dest="gate", metavar="GATE", required=True)
    for name, description in (
        ("offload", "accepted, offloaded, restored before reuse, then a failure with its outcome"),
        ("connector", "a serving engine's own events: observation, failure outcome, attribution"),
    ):
        gate = gates.add_parser(
            name,
            help=description,
            description=f"{description[0].upper()}{description[1:]}.",
            epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        gate.add_argument("trace", type=Path, metavar="TRACE", help="JSON Lines, one event a line")
        gate.add_argument("--claim", metavar="ID", help="the claim to judge (default: every claim; one must pass)")
        gate.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
        if name == "connector":
            gate.add_argument(
                "--others",
                metavar="ID,ID",
                default="",
                help="claims that must be left alone (default: all others in the trace)",
            )
            gate.add_argument(
                "--verdict",
                choices=_VERDICTS,
                help="let the exit status depend on one verdict (default: all; attribution where several claims are)",
            )


def run(args: argparse.Namespace) -> int:
    """Judge and print. Returns 0 if the trace passes, else 1.

    Raises
    ------
    UnreadableTrace : the file is no trace.
    """
    if args.gate == "offload":
        return _run_offload(args)
    return _run_connector(args)


def _run_offload(args: argparse.Namespace) -> int:
    verdict = offload.judge(args.trace, claim_id=args.claim)
    if args.json:
        print(json.dumps(verdict.to_json()))
    else:
        _print_findings("offload life cycle", verdict.claim_id, offload.REQUIREMENTS, verdict.missing)
        _print_evidence(verdict.ordered_evidence)
    return 0 if verdict.passed else 1


def _run_connector(args: argparse.Namespace) -> int:
    others = tuple(name for name in args.others.split(",") if name)
    verdict = connector.judge(args.trace, claim_id=args.claim, others=others)
    passed = verdict.passed if args.verdict is None else getattr(verdict, args.verdict).passed
    if args.json:
        print(json.dumps(verdict.to_json()))
    else:
        for name, requirements in connector.REQUIREMENTS.items():
            claim_id = verdict.controls[f"{name}_claim_id"]
            _print_findings(name.replace("_", " "), claim_id, requirements, getattr(verdict, name).missing)
        if not verdict.controls["several_claims"]:
            print("attribution does not count: the trace names one claim")
        print("pass" if passed else "fail")
    return 0 if passed else 1


def _print_findings(title: str, claim_id: str | None, requirements: tuple[str, ...], missing: tuple[str, ...]) -> None:
    verdict = "[red]fail[/red]" if missing else "[green]pass[/green]"
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in requirements:
        table.add_row("", "[red]missing[/red]" if name in missing else "[green]shown[/green]", name)
    console.print(f"{title}: {verdict}  claim {escape(repr(claim_id))}", soft_wrap=True)
    console.print(table)


def _print_evidence(evidence: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    for role, event in evidence.items():
        table.add_row("", role, "[dim]not found[/dim]" if event is None else f"line {event['line']}: {event['event']}")
    console.print("evidence:")
    console.print(table)
