"""`residentkv conformance` as people and programs use it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from residentkv.cli.main import main

_MAIN = "from residentkv.cli.main import main; raise SystemExit(main())"


def test_json_is_all_there_is_on_stdout(tmp_path, capsys):
    assert main(["conformance", "--runtime", "native", "--json", "--out", str(tmp_path / "new" / "traces")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [test["id"] for test in printed["results"]] == ["L1", "L2", "L3", "L4", "L5", "L6", "L7", "C1"]
    assert {test["status"] for test in printed["results"]} == {"pass"}
    assert {control["status"] for test in printed["results"] for control in test["controls"]} == {"fail"}
    assert all(test["controls"] for test in printed["results"])
    assert all(Path(test["trace"]).parent == tmp_path / "new" / "traces" for test in printed["results"])
    assert len(printed["sweep"]) == 21
    assert set(printed["sweep"][0]) == {
        "usable",
        "policy",
        "active_action",
        "active_served",
        "resident_preserved",
        "resident_victims",
        "active_reusable",
    }


def test_table_by_default_and_traces_in_a_new_folder(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["conformance", "--runtime", "native"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == "conforms"
    folder = Path(lines[-1].removeprefix("traces: "))
    assert folder.parent == tmp_path
    assert (folder / "L1.jsonl").is_file()


def test_exit_status_1_if_the_runtime_does_not_conform(tmp_path):
    """A runtime of one's own, found in the current directory."""
    (tmp_path / "mine.py").write_text(
        "class Mine:\n"
        "    capabilities = frozenset()\n"
        "    def __init__(self, options): self.path = options.trace_path\n"
        "    def serve(self, request_id, tokens, future_reuse): pass\n"
        "    def close(self): self.path.write_text('')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", _MAIN, "conformance", "--runtime", "mine:Mine", "--out", "traces"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert "L1  fail " in result.stdout
    assert "L2  not_exposed " in result.stdout
    assert "does not conform" in result.stdout
    assert (tmp_path / "traces" / "L1.jsonl").is_file()


def test_an_unknown_runtime_is_one_line_and_bad_usage(capsys):
    assert main(["conformance", "--runtime", "nativ"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert (
        output.err == "residentkv conformance: error: runtime 'nativ' is neither native nor micro nor MODULE:FACTORY\n"
    )


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["conformance", "--help"])
    assert "residentkv conformance --runtime native --json --out traces" in capsys.readouterr().out
