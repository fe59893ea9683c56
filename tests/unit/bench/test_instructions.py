import shutil

import pytest

from bench.instructions.callgrind import Counts, why_not_here
from bench.instructions.collection import Collection


def test_a_change_is_relative_to_no_claims():
    counts = Counts(500, {"none": {"admit": 200.0}, "all": {"admit": 210.0}})
    assert counts.change("all", "admit") == pytest.approx(0.05)
    assert counts.change("none", "admit") == 0


def test_without_valgrind_there_is_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert why_not_here() == "valgrind is not installed"


def test_counting_needs_valgrind():
    with pytest.raises(RuntimeError, match="not under valgrind|written for x86_64"):
        Collection()
