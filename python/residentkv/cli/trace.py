"""`residentkv trace`: tell what happened in a trace, or check that it keeps the format and agrees with itself."""

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from residentkv.conformance.gates.trace_lines import read_events
from residentkv.conformance.trace_check import TraceCheck
from residentkv.conformance.trace_story import Sentence, tell

if TYPE_CHECKING:
    from residentkv.contract.events import Event

_EXAMPLES: Final = """\
examples:
  residentkv trace explain run.jsonl                    every claim's story, then every request's
  residentkv trace explain run.jsonl --claim a          one claim
  residentkv trace explain run.jsonl --request r7 --json
  residentkv trace check run.jsonl                      schema, sequence, transitions, accounting
  residentkv trace check run.jsonl --json | jq '.findings[].line'

Exit status: 0; check: 1 if something is wrong; 2 unreadable input.
"""
_LINES_BETWEEN_UPDATES: Final = 4096


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "trace",
        help="explain or check a trace",
        description="Read a trace of events, one JSON object a line.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, description in (
        ("explain", "Tell a trace in sentences, per claim and per request, with the line of each event."),
        ("check", "Verify schema, sequence, transition table and accounting; every finding names its line."),
    ):
        command = verbs.add_parser(
            verb,
            help=description,
            description=description,
            epilog=_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("trace", type=Path, metavar="TRACE", help="JSON Lines, one event a line")
        if verb == "explain":
            only = command.add_mutually_exclusive_group()
            only.add_argument("--claim", metavar="ID", help="only this claim's story")
            only.add_argument("--request", metavar="ID", help="only this request's story")
        else:
            command.add_argument(
                "--limit", type=int, default=100, metavar="N", help="findings to print, 0 for all (default: 100)"
            )
        command.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Explain or check. Returns 1 if the check finds something, else 0.

    Raises
    ------
    UnreadableTrace : the file is no trace.
    """
    return _explain(args) if args.verb == "explain" else _check(args)


def _explain(args: argparse.Namespace) -> int:
    with _progress(args.trace) as update:
        stories = tell(_watched(args.trace, update), claim_id=args.claim, request_id=args.request)
    if args.json:
        print(json.dumps(stories.to_json()))
        return 0
    for kind, told in (("claim", stories.claims), ("request", stories.requests)):
        for name, sentences in told.items():
            _print_story(f"{kind} {name}", sentences)
    if not stories.claims and not stories.requests:
        print("no story: the trace does not name what was asked for")
    print(f"{stories.num_events} events, {stories.num_untold} of them about no claim and no request")
    return 0


def _print_story(title: str, sentences: list[Sentence]) -> None:
    print(_printable(title))
    for sentence in sentences:
        print(f"  line {sentence.line:<6} {_printable(sentence.text)}")
    print()


def _printable(text: str) -> str:
    """Names come from the trace: what would move a terminal's cursor is written as its escape."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _check(args: argparse.Namespace) -> int:
    shown, num_findings = [], 0
    with _progress(args.trace) as update:
        check = TraceCheck(args.trace, update)
        for finding in check.findings():
            num_findings += 1
            if args.limit <= 0 or num_findings <= args.limit:
                shown.append(finding)
    if args.json:
        result = {
            "ok": num_findings == 0,
            "events": check.num_events,
            "other_events": check.num_unknown,
            "num_findings": num_findings,
            "findings": [finding.to_json() for finding in shown],
        }
        print(json.dumps(result))
        return 1 if num_findings else 0
    for finding in shown:
        print(f"{args.trace}:{finding.line}: {_printable(finding.message)}")
    if num_findings > len(shown):
        print(f"and {num_findings - len(shown)} more (--limit 0 prints all)")
    verdict = "ok" if num_findings == 0 else f"{num_findings} findings"
    print(f"{verdict}: {check.num_events} events checked, {check.num_unknown} of other names left alone")
    return 1 if num_findings else 0


def _watched(path: Path, update: Callable[[int], object]) -> "Iterator[tuple[int, Event]]":
    for line, event in read_events(path):
        if line % _LINES_BETWEEN_UPDATES == 0:
            update(line)
        yield line, event


@contextmanager
def _progress(path: Path) -> Iterator[Callable[[int], object]]:
    """Show on a terminal how far a long trace has been read, on stderr. Gives a function that takes the line number."""
    console = Console(stderr=True)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description} {task.completed:,.0f} lines"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(path.name, total=None)
        yield lambda line: bar.update(task, completed=line)
