"""The litmus tests hold for the native runtime, and every single finding has a run or a lie that breaks it."""

import pytest

from residentkv.conformance import litmus
from residentkv.conformance.observation import observe
from residentkv.conformance.suite import Status, Suite
from residentkv.conformance.trace import read_trace
from residentkv.runtime.conformance_adapter import create


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    suite = Suite(create, tmp_path_factory.mktemp("traces"))
    return {test.id: suite.judge(test) for test in litmus.ALL}


def test_all_of_them_are_there(results):
    assert list(results) == ["L1", "L2", "L3", "L4", "L5", "L6", "L7", "C1"]


@pytest.mark.parametrize("test", litmus.ALL, ids=lambda test: test.id)
class TestNative:
    def test_passes(self, test, results):
        result = results[test.id]
        assert [finding for finding in result.findings if not finding.holds] == []
        assert result.status is Status.PASSED

    def test_controls_fail_for_their_reason(self, test, results):
        assert [control.name for control in results[test.id].controls] == [control.name for control in test.controls]
        assert {control.status for control in results[test.id].controls} == {Status.FAILED}

    def test_every_finding_is_broken_by_a_control(self, test, results):
        broken = set()
        for control in results[test.id].controls:
            broken |= {finding.name for finding in test.judge(observe(read_trace(control.trace))) if not finding.holds}
        assert broken == {finding.name for finding in results[test.id].findings}

    def test_silence_fails_most_findings(self, test, results):
        silent = next(control for control in results[test.id].controls if control.name == "nothing emitted")
        assert silent.trace.read_text() == ""
        assert silent.status is Status.FAILED


def test_canonical_numbers(results):
    """60 claimed, 70 wanted, 80 usable: available 20, shortfall 50, 130 needed."""
    observed = {finding.name: finding.observed for finding in results["L3"].findings}
    numbers = observed["numbers"]
    assert (
        numbers["free_blocks_before_allocate"],
        numbers["capacity_shortfall_blocks"],
        numbers["resident_plus_active_blocks"],
    ) == (20, 50, 130)
    assert observed["blocking_claim_ids"] == ["resident"]
