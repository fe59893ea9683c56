"""The matrix of verdicts, one row a mapping, as Markdown and as one HTML file without scripts or links to fetch."""

import html
from collections.abc import Iterator, Sequence
from typing import Final

from residentkv.lowering.checker import DescriptorVerdict, RowVerdict

_HEADINGS: Final = ("runtime", "feature", "as", "label", "met", "what is missing")
_MAX_UNMET: Final = 3  # names in a cell; `lowering explain` has them all


def as_markdown(verdicts: Sequence[DescriptorVerdict]) -> str:
    """A table, and below it the command that reproduces each label."""
    lines = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS))]
    lines += [_line([cell.replace("|", "\\|") for cell in cells]) for cells in _cells(verdicts)]
    return "\n".join(lines) + "\n"


def as_html(verdicts: Sequence[DescriptorVerdict]) -> str:
    """A page that can be opened from a file."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in _HEADINGS)
    rows = [
        f'<tr class="{cells[3]}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in _cells(verdicts)
    ]
    return "\n".join([_PAGE_START, f"<tr>{head}</tr>", *rows, "</table>", "</body>", "</html>", ""])


_PAGE_START: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Lowering matrix</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1a1a1a; background: #fff }
table { border-collapse: collapse }
th, td { border: 1px solid #bbb; padding: .35rem .6rem; text-align: left; vertical-align: top }
th { background: #eee }
tr.native td:nth-child(4) { background: #cdebd0 }
tr.adapter_policy td:nth-child(4), tr.adapter_observational td:nth-child(4) { background: #d5e6f7 }
tr.approximation td:nth-child(4) { background: #f7efc9 }
tr.rejected td:nth-child(4) { background: #f6d5d0 }
tr.unknown td:nth-child(4) { background: #e6e6e6 }
</style>
</head>
<body>
<h1>Lowering matrix</h1>
<table>"""


def _cells(verdicts: Sequence[DescriptorVerdict]) -> Iterator[list[str]]:
    for verdict in verdicts:
        for row in verdict.rows:
            yield [
                f"{verdict.descriptor.title} {verdict.descriptor.version}",
                row.row.feature,
                row.row.mode.value,
                row.label.value,
                f"{len(row.obligations) - len(row.unmet)}/{len(row.obligations)}",
                _missing(row),
            ]


def _missing(row: RowVerdict) -> str:
    if row.label.value in ("rejected", "unknown"):
        return row.reasons[0]
    names = [name.value for name in row.unmet]
    more = f" and {len(names) - _MAX_UNMET} more" if len(names) > _MAX_UNMET else ""
    return ", ".join(names[:_MAX_UNMET]) + more


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
