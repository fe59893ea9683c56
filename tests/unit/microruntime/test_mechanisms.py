from functools import cache

import pytest

from residentkv.microruntime.mechanisms import MECHANISMS, compare
from residentkv.microruntime.scenario import CHUNKS, OWNERS_RETURN, Outcome


@cache
def outcome(mechanism: str) -> Outcome:
    return MECHANISMS[mechanism]()


def test_all_fourteen_in_their_order():
    assert len(MECHANISMS) == 14
    assert [result.mechanism for result in compare()] == list(MECHANISMS)
    assert all(outcome(mechanism).reasons for mechanism in MECHANISMS)


# --- who keeps the residents, and who serves ---


@pytest.mark.parametrize(
    ("mechanism", "value", "served", "reusable"),
    [
        ("native_eviction", 0, True, True),
        ("resident_victim_exclusion", 17, False, False),
        ("write_no_admit_only", 0, True, False),
        ("ordinary_chunking", 17, False, False),
        ("active_deferral", 17, True, True),
        ("resident_reserve", 17, False, False),
        ("offload_resident", 17, True, True),
        ("offload_active", 17, True, True),
        ("bounded_active_live", 17, True, False),
        ("recompute_split", 17, True, False),
        ("route_elsewhere", 17, True, True),
        ("relax_resident_protection", 0, True, True),
        ("capacity_scaling", 17, True, True),
        ("oracle", 17, True, True),
    ],
)
def test_what_each_keeps_and_serves(mechanism: str, value: float, served: bool, reusable: bool):
    seen = outcome(mechanism)
    assert (seen.resident_value, seen.active_served, seen.reuse_admitted) == (value, served, reusable)
    assert seen.resident_survives == (value == 17)


# --- what each costs ---


def test_deferral_serves_later_at_a_delay():
    assert outcome("active_deferral").delay_ticks == OWNERS_RETURN
    assert outcome("offload_resident").delay_ticks == 0


def test_chunking_is_blocked_at_step_2():
    seen = outcome("ordinary_chunking")
    assert (seen.live_by_step, seen.first_blocked_step) == ((20,), 2)
    assert "active refused: refuse_active, 100 needed of 80, blocked by prefix-a, prefix-b" in seen.reasons


def test_recompute_split_peaks_at_20():
    seen = outcome("recompute_split")
    assert (max(seen.live_by_step), seen.recomputed_blocks) == (20, 20 + 40 + 60)


def test_bounded_active_live_stays_in_the_headroom():
    seen = outcome("bounded_active_live")
    assert max(seen.live_by_step) == 20
    assert len(seen.live_by_step) == 7


def test_offload_moves_every_resident_out_and_back():
    assert outcome("offload_resident").offloaded_blocks == 2 * 60
    assert outcome("native_eviction").offloaded_blocks == 0


def test_offloading_the_active_request_only_postpones_it():
    seen = outcome("offload_active")
    assert seen.first_blocked_step == 2
    assert seen.delay_ticks == OWNERS_RETURN
    assert CHUNKS[0] <= seen.offloaded_blocks <= 2 * CHUNKS[0]


def test_capacity_and_routes_cost_what_the_refusal_says():
    assert outcome("capacity_scaling").added_blocks == 50
    assert outcome("route_elsewhere").routed_blocks == 70


def test_the_oracle_is_no_worse_than_any_mechanism_of_its_setting():
    assert outcome("oracle").reasons[0] == "chose offload_resident"
