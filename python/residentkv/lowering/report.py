"""Verdicts as JSON, and as lines for people."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from residentkv.lowering.checker import DescriptorVerdict, Met, RowVerdict, Unmet
from residentkv.lowering.relation import NATURE

SCHEMA_VERSION: Final = 1


def as_json(verdicts: Sequence[DescriptorVerdict]) -> dict[str, Any]:
    """Everything that was found, as JSON values. `ok` is false if a row declares more than it may count as."""
    return {
        "schema_version": SCHEMA_VERSION,
        "ok": not any(row.is_overstated for verdict in verdicts for row in verdict.rows),
        "descriptors": [
            {
                "runtime": verdict.descriptor.runtime,
                "version": verdict.descriptor.version,
                "file": str(verdict.descriptor.path),
                "sha256": verdict.descriptor.sha256,
                "rows": [row_as_json(row) for row in verdict.rows],
            }
            for verdict in verdicts
        ],
    }


def row_as_json(verdict: RowVerdict) -> dict[str, Any]:
    """One row as JSON values."""
    row = verdict.row
    return {
        "id": row.id,
        "feature": row.feature,
        "mode": row.mode.value,
        "mechanism": row.mechanism.value,
        "runtime_mode": row.runtime_mode,
        "declared": row.declared.value,
        "label": verdict.label.value,
        "overstated": verdict.is_overstated,
        "reasons": list(verdict.reasons),
        "met": {
            name.value: {"depth": state.depth.value, "role": state.role.value}
            for name, state in verdict.obligations.items()
            if isinstance(state, Met)
        },
        "unmet": {name.value: reason for name, reason in verdict.unmet.items()},
        "anchors": [
            {"anchor": str(result.anchor), "stance": evidence.stance.value, "verified": result.holds}
            | ({} if result.holds else {"reason": result.reason})
            for evidence, results in verdict.checked
            for result in results
        ],
    }


def as_text(verdicts: Sequence[DescriptorVerdict]) -> str:
    """One line a row, with what keeps it from being better below."""
    return "\n".join(line for verdict in verdicts for line in _descriptor_lines(verdict))


def _descriptor_lines(verdict: DescriptorVerdict) -> Iterator[str]:
    descriptor = verdict.descriptor
    yield f"{descriptor.title} {descriptor.version}  ({descriptor.path})"
    for row in verdict.rows:
        mark = f"  DECLARED {row.row.declared.value}" if row.is_overstated else ""
        yield f"  {row.label.value:<22} {row.row.id}: {row.row.feature} as {row.row.mode.value}{mark}"
        for reason in row.reasons:
            yield f"      {reason}"


def explain(descriptor_title: str, verdict: RowVerdict) -> str:
    """Everything about one row: what it maps, what each obligation rests on, why the label is not better."""
    row = verdict.row
    return "\n".join(
        [
            f"{row.id}: {row.feature}",
            f"  runtime     {descriptor_title}, {row.runtime_mode}",
            f"  as          {row.mode.value}",
            f"  mechanism   {row.mechanism.value}, depth {row.depth.value} ({NATURE[row.mechanism]})",
            f"  label       {verdict.label.value} (declared {row.declared.value})",
            f"  {row.summary}",
            *(f"  because     {reason}" for reason in verdict.reasons),
            "",
            *_obligation_lines(verdict),
        ]
    )


def _obligation_lines(verdict: RowVerdict) -> Iterator[str]:
    for name, state in verdict.obligations.items():
        told = f"unmet: {state.reason}" if isinstance(state, Unmet) else f"met, {state.depth.value}, {state.role.value}"
        yield f"  {name.value}: {told}"
        for evidence, results in verdict.checked:
            if evidence.obligation is not name:
                continue
            yield f"    {evidence.stance.value} ({evidence.by.value}): {evidence.says}"
            for result in results:
                yield f"      {'verified' if result.holds else 'NOT VERIFIED'}  {result.anchor}" + (
                    "" if result.holds else f": {result.reason}"
                )
