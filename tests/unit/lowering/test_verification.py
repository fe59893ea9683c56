"""An anchor holds, or says why not. What is judged is what was hashed."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from residentkv.lowering import verification
from residentkv.lowering.bad.case import source_folder, trace, trace_anchor
from residentkv.lowering.descriptor import SourceAnchor
from residentkv.lowering.reading import read_descriptor
from residentkv.lowering.sources import UnverifiedError
from residentkv.lowering.verification import Checked, Verifier, lines_sha256, require_lines
from residentkv.lowering.vocabulary import Depth, Role
from unit.lowering.conftest import PIN


@pytest.fixture
def verifier():
    verifier = Verifier({"tempting": source_folder()}, {})
    yield verifier
    verifier.close()


def check(path: Path, verifier: Verifier) -> Checked:
    descriptor = read_descriptor(path)
    (row,) = descriptor.rows
    return verifier.check(row.evidence[0].anchors[0], row, descriptor)


def test_source_lines_hold(written: Callable[..., Path], verifier: Verifier):
    checked = check(written(), verifier)
    assert checked.holds
    assert checked.from_backend
    assert checked.executed is None


def test_without_the_source_nothing_holds(written: Callable[..., Path]):
    verifier = Verifier({}, {})
    checked = check(written(), verifier)
    assert checked.reason is not None
    assert "is not installed here" in checked.reason


def test_a_hash_is_of_lines_with_their_line_feeds():
    content = b"a\nb\r\nc"
    assert lines_sha256(content, 2, 2) == hashlib.sha256(b"b\r\n").hexdigest()
    assert lines_sha256(content, 2, 3) == hashlib.sha256(b"b\r\nc\n").hexdigest()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"x = 1\n", "has 1 lines, not 2"), (b"x = 1\n\xff\n", "is not text"), (b"x = 1\ny = 3\n", "have SHA-256")],
)
def test_lines_that_do_not_hold(content: bytes, message: str):
    sha256 = hashlib.sha256(b"\xff\n").hexdigest() if b"\xff" in content else "0" * 64
    anchor = SourceAnchor("s", "a.py", 2, 2, "y", sha256)
    with pytest.raises(UnverifiedError, match=message):
        require_lines(anchor, content)


def test_a_trace_holds_with_its_verdict_and_origin(written: Callable[..., Path], tmp_path: Path, verifier: Verifier):
    content = trace("held-L3")
    (tmp_path / "run.jsonl").write_bytes(content)
    checked = check(written(trace_anchor(content, "L3")), verifier)
    assert checked.executed is not None
    assert checked.executed.verdict.passed
    assert (checked.executed.depth, checked.executed.role) == (Depth.ADAPTER, Role.ENFORCES)
    assert not checked.executed.depth_is_certain


def test_what_is_judged_is_what_was_hashed(written: Callable[..., Path], tmp_path: Path, verifier: Verifier):
    content = trace("held-L3")
    (tmp_path / "run.jsonl").write_bytes(content)
    path = written(trace_anchor(content, "L3"))
    assert check(path, verifier).holds
    (tmp_path / "run.jsonl").write_bytes(b"changed behind our back")
    assert check(path, verifier).holds
    changed = Verifier({}, {})
    assert not check(path, changed).holds
    changed.close()


def test_a_trace_outside_the_folder_is_not_read(written: Callable[..., Path], tmp_path: Path, verifier: Verifier):
    content = trace("held-L3")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.jsonl"
    outside.write_bytes(content)
    (tmp_path / "run.jsonl").symlink_to(outside)
    checked = check(written(trace_anchor(content, "L3")), verifier)
    assert checked.reason == "run.jsonl leads out of the folder of its descriptor"


def test_a_huge_trace_is_not_read(
    written: Callable[..., Path], tmp_path: Path, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(verification, "MAX_TRACE_BYTES", 10)
    content = trace("held-L3")
    (tmp_path / "run.jsonl").write_bytes(content)
    checked = check(written(trace_anchor(content, "L3")), verifier)
    assert checked.reason == "run.jsonl has more than 10 bytes"


def test_a_probe_runs_once(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, verifier: Verifier):
    path = written({"probe": "native-litmus", "case": "L3", "gate": "L3", "verdict": "pass"})
    text = path.read_text(encoding="utf-8")
    text = text.replace('name = "tempting-kv"', 'name = "residentkv"').replace('version = "1.0"', 'version = "0.1.0"')
    path.write_text(text, encoding="utf-8")
    first = check(path, verifier)
    monkeypatch.setattr(verification, "PROBES", {"native-litmus": verification.PROBES["native-litmus"]})
    assert first.holds
    assert first.executed is not None
    assert first.executed.depth is Depth.NATIVE
    assert first.executed.depth_is_certain
    assert len(verifier._runs) == 1
    folder = next(iter(verifier._runs.values()))[1]
    before = (folder / "L3.jsonl").stat().st_mtime_ns
    assert check(path, verifier).holds
    assert (folder / "L3.jsonl").stat().st_mtime_ns == before
    verifier.close()
    assert not folder.exists()


def test_the_anchor_of_the_fixture_is_right():
    assert PIN["symbol"] == "PrefixCache.pin"
