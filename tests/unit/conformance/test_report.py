"""The JSON has exactly the agreed shape; the table shows what does not hold."""

import json
from dataclasses import replace
from pathlib import Path

from residentkv.conformance.finding import equals
from residentkv.conformance.report import as_json, as_text
from residentkv.conformance.suite import ControlResult, LitmusResult, Status, SuiteResult
from residentkv.conformance.sweep import SweepPolicy, expected_row

ROW = expected_row(80, SweepPolicy.NATIVE)
CONTROL = ControlResult("nothing emitted", Status.FAILED, Path("traces/L1-nothing-emitted.jsonl"))


def result(status=Status.PASSED, control=CONTROL, row=ROW, observed=0):
    test = LitmusResult(
        id="L1",
        statement="no claim, no harm",
        status=status,
        findings=(equals("claims_harmed", 0, observed),),
        trace=Path("traces/L1.jsonl"),
        trace_sha256="0f",
        controls=(control,),
    )
    return SuiteResult((test,), (row,), (ROW,))


def test_json_is_the_agreed_shape():
    assert json.loads(json.dumps(as_json(result()))) == {
        "results": [
            {
                "id": "L1",
                "status": "pass",
                "required": {"claims_harmed": 0},
                "observed": {"claims_harmed": 0},
                "trace": "traces/L1.jsonl",
                "trace_sha256": "0f",
                "controls": [{"name": "nothing emitted", "expected": "fail", "status": "fail"}],
            }
        ],
        "sweep": [
            {
                "usable": 80,
                "policy": "native",
                "active_action": "active_served",
                "active_served": True,
                "resident_preserved": False,
                "resident_victims": 50,
                "active_reusable": True,
            }
        ],
    }


def test_json_of_what_is_not_exposed():
    hidden = LitmusResult("L1", "no claim, no harm", Status.NOT_EXPOSED, (), None, None, ())
    assert as_json(SuiteResult((hidden,), (), ()))["results"] == [
        {
            "id": "L1",
            "status": "not_exposed",
            "required": {},
            "observed": {},
            "trace": None,
            "trace_sha256": None,
            "controls": [],
        }
    ]


def test_a_clean_table():
    text = as_text(result())
    assert text.splitlines()[0] == "L1  pass         controls failing 1/1  no claim, no harm"
    assert "expected" not in text
    assert text.endswith("\nconforms")


def test_a_table_shows_what_does_not_hold():
    wrong_row = expected_row(90, SweepPolicy.NATIVE)
    control = ControlResult("nothing emitted", Status.OTHER_REASON, CONTROL.trace)
    text = as_text(result(Status.FAILED, control, wrong_row, observed=1))
    assert "claims_harmed: required 0, observed 1" in text
    assert "control 'nothing emitted': fail_for_another_reason" in text
    assert f"expected {ROW}" in text
    assert text.endswith("\ndoes not conform")


def test_a_table_tells_why_a_scenario_ended_early():
    stopped = replace(result().litmus[0], stopped="ClaimStateError: claim 'large' is harmed")
    text = as_text(SuiteResult((stopped,), (), ()))
    assert "the runtime stopped the scenario: ClaimStateError: claim 'large' is harmed" in text


def test_each_part_alone_decides():
    assert result().conforms
    assert not result(status=Status.FAILED).conforms
    assert not result(status=Status.NOT_EXPOSED).conforms
    assert not result(control=ControlResult("x", Status.PASSED, CONTROL.trace)).conforms
    assert not result(control=ControlResult("x", Status.OTHER_REASON, CONTROL.trace)).conforms
    assert not result(row=expected_row(90, SweepPolicy.NATIVE)).conforms
