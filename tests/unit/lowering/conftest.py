"""A small package to anchor to, and descriptors about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from residentkv.lowering.bad.case import Case, evidence, lines, row, write_case
from residentkv.lowering.vocabulary import Label

PIN = lines("def pin", "return len(there)", "PrefixCache.pin")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a descriptor with one row that lacks one thing, changed as the caller says."""

    def write(anchor: dict[str, Any] | None = None, **changes: Any) -> Path:
        piece = evidence("victim_exclusion", "lacks", "pin_call", anchor or PIN)
        table = {**row("hard_protected", "pin_call", piece, declared="approximation"), **changes}
        return write_case(Case("row-1", Label.APPROXIMATION, "", table), tmp_path)

    return write
