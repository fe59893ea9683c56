import json
from pathlib import Path

import pytest

from residentkv.cli.main import main
from tests.unit.planning.traces import write_trace

PUBLIC_TRACES = Path(__file__).resolve().parents[4] / "shared" / "traces"


def test_json_is_one_object_and_files_hold_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trace = write_trace(tmp_path / "t.jsonl")
    status = main(
        ["replay", str(trace), "--blocks", "1000", "--max-running", "8", "--json", "--out", str(tmp_path / "run")]
    )
    printed = json.loads(capsys.readouterr().out)
    assert status == 0
    measured = printed.pop("measured")
    assert json.loads((tmp_path / "run" / "simulated.json").read_text()) == printed
    assert json.loads((tmp_path / "run" / "measured.json").read_text()) == measured
    assert 0 < measured["manager_s"] <= measured["wall_s"]
    lines = (tmp_path / "run" / "events.jsonl").read_text().splitlines()
    assert sum('"active_request_admitted"' in line for line in lines) == 60 + printed["num_preempted"]


def test_the_table_shows_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trace = write_trace(tmp_path / "t.jsonl")
    first = json.loads(trace.read_text().splitlines()[0])["hash_ids"][0]
    claims = tmp_path / "claims.json"
    claim = {"claim_id": "system", "owner_scope": "tenant", "mode": "demotable", "hash_ids": [first]}
    claims.write_text(json.dumps({"schema_version": 1, "claims": [claim]}))
    assert main(["replay", str(trace), "--blocks", "2000", "--claims", str(claims)]) == 0
    printed = capsys.readouterr().out
    assert "time to first token" in printed
    assert "system" in printed
    assert "tenant" in printed


def test_bad_lines_stop_it_or_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trace = write_trace(tmp_path / "t.jsonl", num_requests=3)
    trace.write_text(trace.read_text() + "oops\n")
    assert main(["replay", str(trace)]) == 2
    assert "line 4" in capsys.readouterr().err
    assert main(["replay", str(trace), "--skip-bad", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["skipped_lines"] == 1
    assert "line 4 left out" in captured.err


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["replay", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(not PUBLIC_TRACES.is_dir(), reason="the public traces are not beside the project")
def test_the_beginning_of_a_public_trace(capsys: pytest.CaptureFixture[str]):
    assert main(["replay", str(PUBLIC_TRACES / "conversation_trace.jsonl"), "--limit", "300", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["num_finished"] == 300
    assert report["hit_rate"] > 0
