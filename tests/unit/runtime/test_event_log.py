import logging
from collections.abc import Callable
from typing import Any

import pytest

from residentkv import CallbackSink, ContractError, LeadingPrefix, MemorySink
from residentkv.contract.events import Event
from tests.unit.runtime.scenario import Scenario, tokens

Make = Callable[..., Scenario]


class FailingSink(MemorySink):
    """Raises in one of its verbs, from its n-th call on."""

    def __init__(self, verb: str, error: BaseException, after: int = 0) -> None:
        super().__init__()
        self.left = after
        self.error = error
        self.verb = verb

    def _maybe_fail(self, verb: str) -> None:
        if verb == self.verb:
            self.left -= 1
            if self.left < 0:
                raise self.error

    def write(self, event: Event) -> None:
        self._maybe_fail("write")
        super().write(event)

    def flush(self) -> None:
        self._maybe_fail("flush")

    def close(self) -> None:
        self._maybe_fail("close")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="residentkv")


def test_flush_delivers_everything_once(make: Make):
    plain: list[Event] = []
    scenario = make(8, sinks=(CallbackSink(plain.append),))
    scenario.serve("a", tokens(1, 2))
    assert scenario.manager.events.num_pending == 2
    assert plain == []
    assert scenario.manager.events.flush() == 2
    assert [event["event"] for event in plain] == ["active_request_admitted", "future_reuse_admitted"]
    assert scenario.manager.events.flush() == 0
    assert scenario.manager.events.num_pending == 0


def test_reading_a_memory_sink_flushes(make: Make):
    scenario = make(8)
    scenario.serve("a", tokens(1, 2))
    assert len(scenario.sink.events) == 2


def test_without_sinks_nothing_is_kept(make: Make):
    scenario = make(8, sinks=())
    scenario.claim("c", tokens(1, 2))
    scenario.serve("a", tokens(1, 2))
    assert scenario.manager.events.num_pending == 0
    assert scenario.manager.events.flush() == 0


@pytest.mark.parametrize("error", [RuntimeError("disk full"), KeyError("x"), ContractError("mine"), AssertionError()])
def test_a_sink_that_raises_is_disabled_and_the_others_get_everything(make: Make, error: Exception):
    bad, good = FailingSink("write", error, after=1), MemorySink()
    scenario = make(8, sinks=(bad, good))
    scenario.claim("c", tokens(1, 2))
    scenario.serve("a", tokens(1, 2))
    names = [event["event"] for event in good.events]
    assert names.count("resident_claim_materialized") == 1
    (report,) = scenario.manager.events.sink_errors
    assert (report.sink, report.error, report.event_sequence) == (bad, error, 2)
    assert report.num_undelivered == len(names) - 1
    scenario.serve("b", tokens(2, 2))
    assert len(good.events) > len(names)
    assert scenario.manager.events.sink_errors == (report,)
    scenario.pool.check_invariants()


def test_the_failure_is_logged_once(make: Make, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.ERROR, logger="residentkv")
    scenario = make(8, sinks=(FailingSink("write", RuntimeError("disk full")),))
    for request_id in ("a", "b"):
        scenario.serve(request_id, tokens(1, 2))
        scenario.manager.events.flush()
    assert [record.getMessage() for record in caplog.records if "disk full" in record.getMessage()] == [
        "event sink MemorySink(0 events) raised and was disabled: RuntimeError('disk full')"
    ]


@pytest.mark.parametrize("verb", ["flush", "close"])
def test_raising_outside_of_write_is_reported_too(make: Make, verb: str):
    bad, good = FailingSink(verb, OSError("gone")), MemorySink()
    scenario = make(8, sinks=(bad, good))
    scenario.serve("a", tokens(1, 2))
    scenario.manager.close()
    (report,) = scenario.manager.events.sink_errors
    assert (report.event_sequence, report.num_undelivered) == (None, 0)
    assert len(good.events) == 2


def test_when_every_sink_failed_events_do_not_pile_up(make: Make):
    scenario = make(8, sinks=(FailingSink("write", RuntimeError()),))
    scenario.manager.events.flush()
    for i in range(3):
        scenario.serve(f"r{i}", tokens(i, 2))
        scenario.manager.events.flush()
        assert scenario.manager.events.num_pending == 0


def test_an_interrupt_passes_through_and_loses_nothing(make: Make):
    sink = FailingSink("write", KeyboardInterrupt(), after=1)
    scenario = make(8, sinks=(sink,))
    scenario.serve("a", tokens(1, 2))
    with pytest.raises(KeyboardInterrupt):
        scenario.manager.events.flush()
    sink.left = 100
    scenario.manager.events.flush()
    assert [event["event_sequence"] for event in sink.events] == [1, 2]
    assert scenario.manager.events.sink_errors == ()


def test_a_sink_may_call_the_manager(make: Make):
    answers: list[Any] = []

    def answer(event: Event) -> None:
        if event["request_id"] == "a" and not answers:
            answers.append(scenario.serve("from-sink", tokens(2, 2)))
            answers.append(scenario.manager.events.flush())  # does nothing in here

    scenario = make(8, sinks=(CallbackSink(answer), seen := MemorySink()))
    scenario.serve("a", tokens(1, 2))
    assert scenario.manager.events.flush() == 2
    assert answers[1] == 0
    assert [event["request_id"] for event in seen.events] == ["a", "a", "from-sink", "from-sink"]
    assert scenario.manager.events.sink_errors == ()


def test_close_delivers_what_sinks_recorded_during_it(make: Make):
    seen = MemorySink()
    scenario = make(8, sinks=(CallbackSink(lambda event: reject_once(event)), seen))

    def reject_once(event: Event) -> None:
        if event["event"] == "active_request_admitted":
            scenario.claim("too-big", tokens(3, 9))

    scenario.serve("a", tokens(1, 2))
    scenario.manager.close()
    assert [event["event"] for event in seen.events][-2:] == ["resident_claim_submitted", "resident_claim_rejected"]


def test_a_sink_that_answers_every_event_does_not_hold_close_up(make: Make):
    def always(event: Event) -> None:
        scenario.claim(f"claim-{event['event_sequence']}", tokens(event["event_sequence"], 9))

    scenario = make(8, sinks=(CallbackSink(always),))
    scenario.serve("a", tokens(1, 2))
    scenario.manager.close()
    (report,) = scenario.manager.events.sink_errors  # after the close the manager is closed to sinks as well
    assert "closed" in str(report.error)


def test_after_close_there_is_nothing_to_flush(make: Make):
    scenario = make(8)
    scenario.serve("a", tokens(1, 2))
    scenario.manager.close()
    assert scenario.manager.events.flush() == 0
    assert scenario.manager.events.num_pending == 0
    assert len(scenario.sink.events) == 2


def test_events_are_handed_over_while_claims_come_and_go(make: Make):
    sink = MemorySink()
    scenario = make(8, sinks=(sink,))
    for life in range(1, 4):
        scenario.claim("c", tokens(1, 2), predicate=LeadingPrefix(1))
        scenario.serve(f"r{life}", tokens(1, 2, extra=1))
        scenario.claims.release("c")
    lives = [event["lifecycle_generation"] for event in sink.named("resident_claim_released")]
    assert lives == [1, 2, 3]
