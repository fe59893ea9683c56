"""`residentkv micro`: what the reference model shows about arbitration, as tables or as JSON."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from residentkv.microruntime import materialization, mechanisms, scenario
from residentkv.microruntime.demand import DemandPlan

_MECHANISM_EXAMPLES: Final = """\
examples:
  residentkv micro mechanisms                                  the table, with the reasons below it
  residentkv micro mechanisms --json | jq '.mechanisms[].mechanism'

Every number comes out of running the reference model; blocks and ticks are those of the scenario.
"""
_MATERIALIZATION_EXAMPLES: Final = """\
examples:
  residentkv micro materialization
  residentkv micro materialization --json | jq '.policies[] | {policy, surviving_blocks, threshold_value}'

A prefix is worth its value while all of its leading blocks survive, and nothing after that.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "micro",
        help="what the reference model of the contract shows",
        description="Run scenarios on the reference model: plain Python, no device, no model.",
        epilog="examples:\n  residentkv micro mechanisms\n  residentkv micro materialization --json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reports = parser.add_subparsers(dest="report", metavar="REPORT", required=True)
    for name, (summary, examples, _) in _REPORTS.items():
        report = reports.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        report.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def run(args: argparse.Namespace) -> int:
    """Run the report that `args` names and print it. Returns 0."""
    _, _, make = _REPORTS[args.report]
    values, tables, notes = make()
    if args.json:
        print(json.dumps(values, indent=2, allow_nan=False))
        return 0
    console = Console(highlight=False)
    for table in tables:
        console.print(table)
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
    return 0


Report = tuple[dict[str, Any], Sequence[Table], Sequence[str]]


def _mechanisms() -> Report:
    plan = DemandPlan(scenario.CHUNKS)
    protected = scenario.PREFIX_BLOCKS * len(scenario.PREFIX_VALUES)
    headroom = scenario.USABLE_BLOCKS - protected
    setting = {
        "usable_blocks": scenario.USABLE_BLOCKS,
        "protected_blocks": protected,
        "resident_value": sum(scenario.PREFIX_VALUES.values()),
        "active_chunks": list(plan.chunks),
        "live_by_step": list(plan.live_by_step),
        "headroom_blocks": headroom,
        "first_blocked_step": plan.first_blocked_step(headroom),
        "owners_return_tick": scenario.OWNERS_RETURN,
    }
    outcomes = mechanisms.compare()
    title = (
        f"{protected} protected blocks worth {setting['resident_value']:g}, an active {plan.total_blocks} "
        f"in chunks {_row(plan.chunks)}, {scenario.USABLE_BLOCKS} usable"
    )
    kept = _table(title, ["mechanism", "kept", "value", "served", "reuse", "delay", "peak", "stuck"])
    costs = _table("costs, in blocks", ["mechanism", "offload", "recompute", "route", "capacity"])
    for outcome in outcomes:
        kept.add_row(
            outcome.mechanism,
            _yes(outcome.resident_survives),
            f"{outcome.resident_value:g}",
            _yes(outcome.active_served),
            _yes(outcome.reuse_admitted),
            _or_dash(outcome.delay_ticks),
            _or_dash(max(outcome.live_by_step, default=None)),
            _or_dash(outcome.first_blocked_step),
        )
        costs.add_row(
            outcome.mechanism,
            *map(
                str,
                (outcome.offloaded_blocks, outcome.recomputed_blocks, outcome.routed_blocks, outcome.added_blocks),
            ),
        )
    notes = [
        f"full attention needs {_row(plan.live_by_step)} live blocks by step; with {headroom} of headroom "
        f"step {setting['first_blocked_step']} is the first blocked",
        "",
        *(f"{outcome.mechanism}: {'; '.join(outcome.reasons)}" for outcome in outcomes),
    ]
    values = {"scenario": setting, "mechanisms": [asdict(outcome) for outcome in outcomes]}
    return values, [kept, costs], notes


def _materialization() -> Report:
    results = materialization.compare()
    budget = materialization.USABLE_BLOCKS - materialization.PRESSURE_BLOCKS
    title = (
        f"{len(materialization.VALUES)} prefixes of {materialization.PREFIX_BLOCKS} blocks, room for {budget} of "
        f"{materialization.USABLE_BLOCKS} beside an active {materialization.PRESSURE_BLOCKS}"
    )
    table = _table(title, ["policy", "served", "surviving", *materialization.VALUES, "whole", "value"])
    for kept in results:
        table.add_row(
            kept.policy,
            _yes(kept.pressure_served),
            str(kept.surviving_blocks),
            *map(str, kept.surviving_by_prefix.values()),
            ", ".join(kept.materialized) or "none",
            f"{kept.threshold_value:g}",
        )
    setting = {
        "usable_blocks": materialization.USABLE_BLOCKS,
        "prefix_blocks": materialization.PREFIX_BLOCKS,
        "pressure_blocks": materialization.PRESSURE_BLOCKS,
        "values": dict(materialization.VALUES),
    }
    return {"scenario": setting, "policies": [asdict(kept) for kept in results]}, [table], []


_REPORTS: Final[Mapping[str, tuple[str, str, Callable[[], Report]]]] = {
    "mechanisms": ("compare ways to arbitrate between claimed and active KV", _MECHANISM_EXAMPLES, _mechanisms),
    "materialization": (
        "compare policies that keep most blocks with policies that keep whole prefixes",
        _MATERIALIZATION_EXAMPLES,
        _materialization,
    ),
}


def _table(title: str, columns: Sequence[str]) -> Table:
    """An empty table that fits 80 columns without cutting a name."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        is_text = column in ("mechanism", "policy", "whole")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=is_text)
    return table


def _yes(value: bool) -> str:  # noqa: FBT001 - a cell of a table
    return "yes" if value else "no"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _row(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
