"""The matrix as Markdown and HTML; the one in the documentation is the audited one."""

import html.parser
import json
from collections.abc import Callable
from pathlib import Path

from residentkv.lowering.checker import check_descriptors
from residentkv.lowering.matrix import as_html, as_markdown
from residentkv.lowering.reading import read_descriptors
from residentkv.lowering.shipped import shipped_descriptors
from tools import lowering_audit


class Cells(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.rows += tag == "tr"
        if tag not in ("meta",):
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag


def test_markdown_has_one_line_a_row(written: Callable[..., Path]):
    text = as_markdown(check_descriptors(read_descriptors([written(feature="a | b")]), {}, {}))
    lines = text.splitlines()
    assert lines[0].startswith("| runtime | feature | as | label |")
    assert len(lines) == 3
    assert "| a \\| b | hard_protected | unknown | 0/8 |" in lines[2]


def test_html_escapes_what_a_descriptor_says(written: Callable[..., Path]):
    page = as_html(check_descriptors(read_descriptors([written(feature="<script>alert(1)</script>")]), {}, {}))
    cells = Cells()
    cells.feed(page)
    assert cells.tags == []
    assert cells.rows == 2
    assert "<script>" not in page
    assert "http" not in page


def test_the_documented_matrix_is_the_audited_one():
    page = lowering_audit.PAGE.read_text(encoding="utf-8")
    table = page.split(lowering_audit.BEGIN)[1].split(lowering_audit.END)[0].strip().splitlines()
    audit = json.loads(lowering_audit.GOLDEN.read_text(encoding="utf-8"))
    rows = [row for part in audit["descriptors"] for row in part["rows"]]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]
    assert [(cell[1], cell[2], cell[3]) for cell in cells] == [
        (row["feature"], row["mode"], row["label"]) for row in rows
    ]
    assert len(shipped_descriptors()) == len(audit["descriptors"])
