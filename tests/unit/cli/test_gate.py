"""`residentkv gate` and `residentkv trace` as people and programs use them."""

import json
import re
from pathlib import Path

import pytest

from residentkv.cli.main import main
from residentkv.conformance.gates import connector, offload
from unit.conformance.gates.writer import connector_life, crowd, edited, offload_lifecycle, write


@pytest.fixture
def trace(tmp_path):
    return lambda events: str(write(tmp_path / "trace.jsonl", events))


def test_offload_json_has_exactly_the_four_keys(trace, capsys):
    path = trace(offload_lifecycle())
    assert main(["gate", "offload", path, "--claim", "a", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["pass"], printed["claim_id"], printed["missing"]) == (True, "a", [])
    assert list(printed) == ["pass", "claim_id", "missing", "ordered_evidence"]
    assert printed["ordered_evidence"]["restored"]["line"] == 7
    assert main(["gate", "offload", path, "--claim", "b", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["missing"] == list(offload.REQUIREMENTS)


def test_connector_json_has_exactly_the_four_keys(trace, capsys):
    path = trace(crowd())
    assert main(["gate", "connector", path, "--claim", "a", "--others", "b", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == ["observation", "failure_outcome", "attribution", "controls"]
    assert all(printed[verdict] == {"pass": True, "missing": []} for verdict in list(printed)[:3])
    assert printed["controls"]["others"] == ["b"]
    assert main(["gate", "connector", path, "--claim", "b", "--json"]) == 1


def test_the_exit_status_can_depend_on_one_verdict(trace):
    path = trace(connector_life(fails=False))
    assert main(["gate", "connector", path]) == 1
    assert main(["gate", "connector", path, "--verdict", "observation"]) == 0
    assert main(["gate", "connector", path, "--verdict", "failure_outcome"]) == 1
    assert main(["gate", "connector", path, "--verdict", "attribution"]) == 1


def test_tables_name_every_requirement(trace, capsys):
    assert main(["gate", "offload", trace(offload_lifecycle())]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in offload.REQUIREMENTS)
    assert "missing" not in shown
    assert "line 7: resident_claim_restored" in shown
    assert main(["gate", "connector", trace(edited(crowd(), "request_initialized", {"claim_id": "[red]"}))]) == 1
    shown = capsys.readouterr().out
    assert all(name in shown for names in connector.REQUIREMENTS.values() for name in names)
    assert shown.endswith("fail\n")


@pytest.mark.parametrize(
    "command", [["gate", "offload"], ["gate", "connector"], ["trace", "check"], ["trace", "explain"]]
)
def test_what_is_no_trace_is_one_line_and_exit_status_2(tmp_path, capsys, command):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b'{"event":"x"}\n{"event":')
    assert main([*command, str(path), "--json"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"residentkv {command[0]}: error: {path}:2: not JSON: ")
    assert output.err.count("\n") == 1
    assert main([*command, str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl: No such file or directory" in capsys.readouterr().err
    assert main([*command, str(tmp_path)]) == 2


def test_trace_check_prints_path_line_and_message(trace, capsys):
    path = trace([{"event": "resident_claim_kept"}, {"event": "resident_claim_kept"}, {"event": "theirs"}])
    assert main(["trace", "check", path, "--limit", "1"]) == 1
    assert capsys.readouterr().out == (
        f"{path}:1: unknown event 'resident_claim_kept'\n"
        "and 1 more (--limit 0 prints all)\n"
        "2 findings: 2 events checked, 1 of other names left alone\n"
    )
    assert main(["trace", "check", path, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ok"], printed["num_findings"], printed["events"], printed["other_events"]) == (False, 2, 2, 1)
    assert main(["trace", "check", trace([{"event": "theirs"}])]) == 0


def test_trace_explain_tells_and_escapes(trace, capsys):
    path = trace(offload_lifecycle("\x1b[2J"))
    assert main(["trace", "explain", path]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "claim \\x1b[2J\n  line 1      It asks for 60 blocks as offloadable" in shown
    assert main(["trace", "explain", path, "--request", "reuse", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["requests"]) == ["reuse"]
    assert main(["trace", "explain", path, "--claim", "nobody"]) == 0
    assert "no story" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["gate", "trace"])
def test_help_has_examples_and_exit_statuses(capsys, command):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"residentkv {command} " in shown
    assert "Exit status: 0" in shown


def test_the_document_explains_every_name():
    document = (Path(__file__).resolve().parents[3] / "docs/gates.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)` \|", document, flags=re.MULTILINE))
    assert explained == {*offload.REQUIREMENTS, *(name for names in connector.REQUIREMENTS.values() for name in names)}
