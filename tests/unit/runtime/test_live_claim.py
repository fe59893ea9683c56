from types import SimpleNamespace

import pytest

from residentkv.contract.claim import Duration
from residentkv.runtime.live_claim import NEVER, Deadline

COUNTS = SimpleNamespace(num_steps_planned=10, num_allocations=100)


@pytest.mark.parametrize(
    ("duration", "deadline"),
    [
        (None, Deadline(NEVER, NEVER, NEVER)),
        (Duration(steps=3), Deadline(13, NEVER, NEVER)),
        (Duration(allocations=7), Deadline(NEVER, 107, NEVER)),
        (Duration(nanoseconds=5), Deadline(NEVER, NEVER, 1005)),
        (Duration(steps=1, allocations=2, nanoseconds=3), Deadline(11, 102, 1003)),
        (Duration(steps=2**80, nanoseconds=2**63 - 1), Deadline(2**63 - 1, NEVER, 2**63 - 1)),
    ],
)
def test_a_deadline_counts_from_now(duration: Duration | None, deadline: Deadline):
    assert Deadline.after(duration, COUNTS, now_ns=1000) == deadline


@pytest.mark.parametrize(
    ("deadline", "is_past"),
    [
        (Deadline(), False),
        (Deadline(step=11), False),
        (Deadline(step=10), True),
        (Deadline(allocations=101), False),
        (Deadline(allocations=100), True),
        (Deadline(nanoseconds=1001), False),
        (Deadline(nanoseconds=1000), True),
        (Deadline(step=11, allocations=101, nanoseconds=999), True),
    ],
)
def test_any_clock_can_reach_a_deadline(deadline: Deadline, is_past: bool):
    assert deadline.is_past(COUNTS, now_ns=1000) is is_past
