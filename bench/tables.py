"""Prints results."""

from collections.abc import Mapping
from typing import Any

from bench.results import CaseResult, Results


def show(results: Results) -> None:
    """Print every table that has content."""
    peers = results.peers.get("vllm", {})
    _show_times(results, peers.get("cases", {}))
    _show_peers(peers)
    _show_ratios(results)
    print("\nfacts: " + ", ".join(f"{name} {value:.1f}" for name, value in sorted(results.facts.items())))
    _show_instructions(results.instructions)


def _show_times(results: Results, vllm: Mapping[str, Mapping[str, float]]) -> None:
    ours = f"{'case, us for one unit':36}{'p50':>10}{'min':>10}{'p50 of all':>12}{'reach':>10}"
    print(f"\n{ours}  {'':10}{'vLLM p50':>10}{'ratio':>8}")
    for name, case in (results.cases | results.reports).items():
        peer = vllm.get(name)
        side = f"{_number(peer['p50_us']):>10}{peer['p50_us'] / case.p50_us:>7.0f}x" if peer else ""
        reach = "" if case.reach_us is None else f"{case.reach_us:g}"
        numbers = f"{_number(case.p50_us):>10}{_number(case.min_us):>10}{_number(case.p50_all_us):>12}{reach:>10}"
        print(f"{name:36}{numbers}  {_verdict(case):10}{side}".rstrip())


def _show_ratios(results: Results) -> None:
    print(f"\n{'ratio, 1 is as fast as the ceiling':36}{'p50':>10}{'best':>10}{'':12}{'reach':>10}")
    for name, case in results.ratios.items():
        verdict = "" if case.ratio >= case.reach else "accepted" if case.accepted_miss else "MISSED"
        print(f"{name:36}{case.ratio:>10.2f}{case.best:>10.2f}{'':12}{case.reach:>10g}  {verdict}".rstrip())


def _verdict(case: CaseResult) -> str:
    if case.reach_us is None or case.p50_us <= case.reach_us:
        return ""
    return "accepted" if case.accepted_miss else "MISSED"


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _show_peers(peers: Mapping[str, Any]) -> None:
    if "version" in peers:
        print(f"\nvLLM {peers['version']}, KVCacheManager, same shapes, same run")
    else:
        print(f"\nvLLM: {peers.get('skipped') or peers.get('failed')}")


def _show_instructions(instructions: Mapping[str, Any]) -> None:
    if "of" not in instructions:
        print(f"\ninstructions: skipped, {instructions.get('skipped', 'not asked for')}")
        return
    print(
        f"\ninstructions of one operation, Python's call included; {instructions['num_claims']} accepted claims lie ..."
    )
    none = instructions["of"]["none"]
    for claims, by_case in instructions["of"].items():
        cells = "".join(f"{case:>10} {count:>9,.0f} ({count / none[case] - 1:+.2%})" for case, count in by_case.items())
        print(f"  {claims:10}{cells}")
