"""`residentkv replay`: drive the real manager with a request trace and say what it did."""

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from residentkv.planning.planned_claim import PlannedClaim
    from residentkv.planning.replay_statistics import ReplayStatistics

_DESCRIPTION: Final = """\
Drive the real block manager with a request trace under a simulated clock, and report what became of the requests.
Decisions and events depend on the trace and the options only; run it twice and compare the files.
"""

_EPILOG: Final = """\
traces (JSON Lines):
  {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [...]}    Mooncake; an id is 512 tokens
  {"timestamp": ms, "token_ids": [...], "output_length": n}

examples:
  residentkv replay trace.jsonl                                   65,536 blocks of 16 tokens
  residentkv replay trace.jsonl --blocks 262144 --out run         events.jsonl, simulated.json, measured.json
  residentkv replay trace.jsonl --claims claims.json --json | jq .claims
  residentkv replay trace.jsonl --prefill-tokens-per-s 90000 --step-ms 12      rates of your own engine

exit status: 0 if every request was served or refused, 1 if some were left waiting, 2 for unreadable input
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "replay",
        help="replay a request trace on the real manager",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("trace", type=Path, metavar="TRACE", help="request trace, JSON Lines")
    parser.add_argument("--blocks", type=int, default=65_536, help="usable blocks of the pool (default: 65536)")
    parser.add_argument("--block-size", type=int, default=16, help="tokens in a block (default: 16)")
    parser.add_argument("--max-running", type=int, default=256, help="requests that run at a time (default: 256)")
    parser.add_argument("--step-tokens", type=int, default=8192, help="most tokens in one step (default: 8192)")
    parser.add_argument("--prefill-tokens-per-s", type=float, default=60_000.0, help="service model (default: 60000)")
    parser.add_argument("--step-ms", type=float, default=15.0, help="service model: overhead of a step (default: 15)")
    parser.add_argument(
        "--decode-us", type=float, default=50.0, help="service model: each decoding request adds this (default: 50)"
    )
    parser.add_argument("--claims", type=Path, metavar="FILE", help="claims to submit during the replay (JSON)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N requests")
    parser.add_argument("--seed", type=int, default=0, help="names the run, seeds the index, changes no decision")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad lines out and count them")
    parser.add_argument("--block-events", action="store_true", help="also an event for each block")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write events.jsonl, simulated.json and measured.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else on stdout")


def run(args: argparse.Namespace) -> int:
    """Replay and report.

    Raises
    ------
    ConfigError : a bad trace or claims file.
    ContractError : options that no pool can have.
    OSError : a file can not be read or written.
    """
    from residentkv.observe.sinks import JsonlSink
    from residentkv.planning.claims_file import read_claims
    from residentkv.planning.replay import Replay, ReplayOptions, replay_identity
    from residentkv.planning.request_trace import read_requests
    from residentkv.planning.service_model import ServiceModel

    messages = Console(stderr=True, highlight=False)
    options = ReplayOptions(
        usable_blocks=args.blocks,
        block_size=args.block_size,
        max_tokens_per_step=args.step_tokens,
        max_running=args.max_running,
        service=ServiceModel(args.prefill_tokens_per_s, args.step_ms / 1e3, args.decode_us / 1e6),
        seed=args.seed,
        block_events=args.block_events,
    )
    note = (lambda line, what: messages.print(f"line {line} left out: {what}", markup=False)) if args.skip_bad else None
    trace = read_requests(args.trace, on_bad_line=note, limit=args.limit)
    claims: tuple[PlannedClaim, ...] = ()
    if args.claims is not None:
        claims = read_claims(args.claims, replay_identity(args.block_size), trace.hash_numbers)
    with ExitStack() as stack:
        sinks = []
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            sinks.append(JsonlSink(args.out / "events.jsonl"))
        bar = stack.enter_context(_progress(messages))
        task = bar.add_task("requests", total=len(trace.requests))
        replay = stack.enter_context(Replay(trace.requests, options, claims=claims, sinks=sinks))
        statistics = replay.run(lambda num_left: bar.update(task, completed=len(trace.requests) - num_left))
    report = {
        "trace": str(args.trace),
        "skipped_lines": len(trace.skipped),
        "ignored_fields": sorted(trace.ignored_fields),
        **statistics.simulated(),
    }
    measured = statistics.measured()
    if args.out is not None:
        _write(args.out / "simulated.json", report)
        _write(args.out / "measured.json", measured)
    if args.json:
        json.dump({**report, "measured": measured}, sys.stdout, allow_nan=False)
        print()
    else:
        _show(report, statistics, measured)
    return 1 if statistics.num_left_waiting else 0


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _show(report: dict[str, Any], statistics: "ReplayStatistics", measured: dict[str, Any]) -> None:
    console = Console(highlight=False)
    first = report["time_to_first_token_s"]
    rows = [
        ("requests", f"{report['num_requests']:,}"),
        (
            "finished / refused / left waiting",
            f"{report['num_finished']:,} / {report['num_refused']:,} / {report['num_left_waiting']:,}",
        ),
        ("deferred, preempted", f"{report['num_deferred']:,}, {report['num_preempted']:,}"),
        (
            "prompt tokens found in the cache",
            f"{report['cached_tokens']:,} of {report['prompt_tokens']:,} ({report['hit_rate']:.1%})",
        ),
        ("tokens computed again", f"{report['recomputed_tokens']:,}"),
        ("blocks evicted", f"{report['num_evictions']:,}"),
        (
            "time to first token, median / p95 / p99",
            " / ".join("-" if first[p] is None else f"{first[p]:.2f} s" for p in ("p50", "p95", "p99")),
        ),
        ("simulated time", f"{report['simulated_s']:,.0f} s in {report['num_steps']:,} steps"),
        (
            "measured: replay, manager in it",
            f"{measured['wall_s']:.1f} s, {measured['manager_s']:.1f} s ({measured['manager_share']:.0%})",
        ),
        ("measured: manager per step", f"{measured['manager_us_per_step']:.1f} us"),
    ]
    table = Table(show_header=False, box=None)
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)
    if statistics.claims:
        claims = Table(
            "claim", "owner", "mode", "blocks", "hits", "tokens reused", "deferred", "refused", "at the end", box=None
        )
        for ledger in statistics.claims.values():
            claims.add_row(
                ledger.claim_id,
                ledger.owner_scope,
                ledger.mode,
                f"{ledger.footprint_blocks:,}",
                f"{ledger.num_hits:,}",
                f"{ledger.reused_tokens:,}",
                f"{ledger.num_deferrals:,}",
                f"{ledger.num_refusals:,}",
                ledger.outcome,
            )
        console.print(claims)
