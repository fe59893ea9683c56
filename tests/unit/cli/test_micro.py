import json

import pytest

from residentkv.cli.main import main
from residentkv.microruntime.mechanisms import MECHANISMS


def test_mechanisms_as_json(capsys):
    assert main(["micro", "mechanisms", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["mechanism"] for row in printed["mechanisms"]] == list(MECHANISMS)
    assert printed["scenario"]["live_by_step"] == [20, 40, 60, 70]
    assert printed["scenario"]["first_blocked_step"] == 2


def test_mechanisms_as_a_table_that_cuts_no_name(capsys):
    assert main(["micro", "mechanisms"]) == 0
    printed = capsys.readouterr().out
    table = printed[: printed.index("full attention needs")]
    assert all(table.count(f" {mechanism} ") == 2 for mechanism in MECHANISMS)
    assert "…" not in printed


def test_materialization(capsys):
    assert main(["micro", "materialization"]) == 0
    assert "whole_prefixes_by_value" in capsys.readouterr().out
    assert main(["micro", "materialization", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["policies"]) == 4


@pytest.mark.parametrize("report", ["mechanisms", "materialization"])
def test_help_has_examples(report: str, capsys):
    with pytest.raises(SystemExit):
        main(["micro", report, "--help"])
    assert f"residentkv micro {report} --json" in capsys.readouterr().out
