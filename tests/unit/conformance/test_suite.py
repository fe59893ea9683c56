"""Runtimes that break a promise fail the litmus of that promise. Each is the native one with one thing wrong."""

from dataclasses import replace

import pytest

from residentkv.conformance.litmus import ALL
from residentkv.conformance.suite import Status, Suite
from residentkv.conformance.trace import file_sha256
from residentkv.contract.claim import ProtectionMode
from residentkv.contract.protocol import Capability, FutureReuse
from residentkv.runtime.conformance_adapter import NativeRuntime


class Silent(NativeRuntime):
    """Emits nothing."""

    def __init__(self, options):
        super().__init__(options)
        self._path = options.trace_path

    def close(self):
        super().close()
        self._path.write_text("")


class TakesHardForSoft(NativeRuntime):
    def submit(self, spec):
        hard = spec.mode is ProtectionMode.HARD_PROTECTED
        super().submit(replace(spec, mode=ProtectionMode.SOFT_PRIORITY) if hard else spec)


class TakesSoftForHard(NativeRuntime):
    def submit(self, spec):
        soft = spec.mode is ProtectionMode.SOFT_PRIORITY
        super().submit(replace(spec, mode=ProtectionMode.HARD_PROTECTED) if soft else spec)


class AlwaysAdmitsForReuse(NativeRuntime):
    def serve(self, request_id, tokens, future_reuse):
        super().serve(request_id, tokens, FutureReuse.ADMIT)


class ReleasesInsteadOfDemoting(NativeRuntime):
    def demote(self, claim_id):
        super().release(claim_id)


class NeverExpires(NativeRuntime):
    def submit(self, spec):
        super().submit(replace(spec, mode=ProtectionMode.HARD_PROTECTED, duration=None) if spec.duration else spec)


class ForgetsFaults(NativeRuntime):
    def invalidate(self, claim_id, position, cause):
        pass


class CountsFromTheTail(NativeRuntime):
    """Loses the last block where it was told the first."""

    def invalidate(self, claim_id, position, cause):
        super().invalidate(claim_id, 59 - position, cause)


def outcome(runtime, folder):
    return {test.id: Suite(runtime, folder).judge(test) for test in ALL}


@pytest.mark.parametrize(
    ("runtime", "failing"),
    [
        (Silent, {"L1", "L2", "L3", "L4", "L5", "L6", "L7", "C1"}),
        (TakesHardForSoft, {"L3", "L6", "L7"}),
        (TakesSoftForHard, {"C1"}),
        (AlwaysAdmitsForReuse, {"L2"}),
        (ReleasesInsteadOfDemoting, {"L4"}),
        (NeverExpires, {"L5"}),
        (ForgetsFaults, {"L6"}),
        (CountsFromTheTail, {"L6"}),
    ],
)
def test_a_broken_runtime_fails_where_it_is_broken(tmp_path, runtime, failing):
    results = outcome(runtime, tmp_path)
    assert {name for name, result in results.items() if result.status is Status.FAILED} == failing


def test_a_control_that_passes_is_noticed(tmp_path):
    """Told to take a hard claim, it takes a soft one: C1 holds, but so does the run that was to break it."""
    soft = outcome(TakesHardForSoft, tmp_path)["C1"]
    assert soft.status is Status.PASSED
    assert {control.name: control.status for control in soft.controls}["a hard claim"] is Status.PASSED


def test_a_control_that_fails_for_another_reason_is_noticed(tmp_path):
    """Nothing expires, so nothing is lost: there are no losses a lie could leave out."""
    statuses = {control.name: control.status for control in outcome(NeverExpires, tmp_path)["L5"].controls}
    assert statuses["losses not attributed"] is Status.OTHER_REASON
    assert statuses["evictions not reported"] is Status.FAILED


def test_what_is_not_exposed_is_no_pass(tmp_path):
    class OnlyHard(NativeRuntime):
        capabilities = frozenset({Capability.HARD_CLAIMS})

    result = Suite(OnlyHard, tmp_path).run()
    statuses = {test.id: test.status for test in result.litmus}
    assert statuses == {
        "L1": Status.PASSED,
        "L7": Status.PASSED,
        **dict.fromkeys(["L2", "L3", "L4", "L5", "L6", "C1"], Status.NOT_EXPOSED),
    }
    hidden = next(test for test in result.litmus if test.id == "L2")
    assert (hidden.trace, hidden.trace_sha256, hidden.controls) == (None, None, ())
    assert [row.active_action for row in result.sweep if row.policy == "native"] == ["active_absent"] * 7
    assert not result.conforms


def test_a_run_the_runtime_can_not_do_is_no_control(tmp_path):
    class NoSoft(NativeRuntime):
        capabilities = frozenset(Capability) - {Capability.SOFT_CLAIMS}

    hard = outcome(NoSoft, tmp_path)["L3"]
    assert hard.status is Status.PASSED
    assert "only a soft priority" not in [control.name for control in hard.controls]
    assert {control.status for control in hard.controls} == {Status.FAILED}


def test_an_error_ends_the_scenario_and_the_trace_decides(tmp_path):
    """Its hard claim was soft, so it ended by harm and can not be released any more."""
    result = outcome(TakesHardForSoft, tmp_path)["L7"]
    assert result.status is Status.FAILED
    assert result.stopped.startswith("ClaimStateError: ")


def test_traces_stay_behind_and_repeat_byte_for_byte(tmp_path):
    digests = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        results = outcome(NativeRuntime, folder)
        assert all(result.trace_sha256 == file_sha256(result.trace) for result in results.values())
        digests.append({path.name: file_sha256(path) for path in folder.iterdir()})
    assert digests[0] == digests[1]
    assert len(digests[0]) == len(ALL) + sum(len(test.controls) for test in ALL)


def test_an_earlier_trace_is_not_read(tmp_path):
    """A runtime that writes nothing must not pass on what another one left in the folder."""
    outcome(NativeRuntime, tmp_path)

    class WritesElsewhere(NativeRuntime):
        def __init__(self, options):
            super().__init__(replace(options, trace_path=options.trace_path.with_suffix(".elsewhere")))

    assert {result.status for result in outcome(WritesElsewhere, tmp_path).values()} == {Status.FAILED}
