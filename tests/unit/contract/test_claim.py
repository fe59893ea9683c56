"""Claim specs refuse what can be seen to be wrong; the life cycle is exactly the table of contract.md section 3."""

import math
import pickle

import numpy as np
import pytest

from residentkv.contract.claim import (
    NEXT,
    PERMITTED_ACTIONS,
    ClaimAction,
    ClaimEvent,
    ClaimSpec,
    ClaimState,
    Duration,
    ProtectionMode,
    advance,
)
from residentkv.contract.errors import ClaimStateError, ContractError
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import ContiguousRange, LeadingPrefix

IDENTITY = CacheIdentity("domain", "model", "tokenizer", "salt", 4, "fp16")
TOKENS = tuple(range(42))  # ten full blocks of four, and two tokens


def spec(**changes):
    values = {
        "claim_id": "claim",
        "owner_scope": "tenant",
        "cache_identity": IDENTITY,
        "tokens": TOKENS,
        "predicate": LeadingPrefix(6),
    }
    return ClaimSpec(**(values | changes))


LIFE = {
    "submitted": {"accepted", "rejected"},
    "accepted": {"materialized", "demoted", "expired", "released"},
    "materialized": {"offloaded", "demoted", "expired", "released", "harmed"},
    "offloaded": {"restoring", "demoted", "expired", "released", "harmed"},
    "restoring": {"materialized", "offloaded", "demoted", "expired", "released", "harmed"},
}


@pytest.mark.parametrize("state", ClaimState)
def test_transitions_are_those_of_the_contract(state):
    assert {after.value for after in NEXT.get(state, {}).values()} == LIFE.get(state.value, set())
    assert state.is_final == (state.value not in LIFE)


@pytest.mark.parametrize("state", ClaimState)
@pytest.mark.parametrize("event", ClaimEvent)
def test_any_other_transition_is_an_error(state, event):
    if event in NEXT.get(state, {}):
        assert advance(state, event) is NEXT[state][event]
    else:
        with pytest.raises(ClaimStateError, match=f"^{event.value} is not allowed while {state.value}$"):
            advance(state, event)


def test_no_event_means_two_things():
    """Reaching a state always takes the same event, so an event name tells the state."""
    reached = {(event, after) for moves in NEXT.values() for event, after in moves.items()}
    assert len({event for event, _ in reached}) == len(reached)


def test_protecting_modes():
    assert {mode.value for mode in ProtectionMode if mode.is_protecting} == {
        "hard_protected",
        "offloadable",
        "demotable",
        "expiring",
    }


def test_defaults():
    claim = spec()
    assert claim.mode is ProtectionMode.HARD_PROTECTED
    assert claim.num_footprint_blocks == 6
    assert claim.permitted_actions == ()
    assert claim.expected_value is None
    assert pickle.loads(pickle.dumps(claim)) == claim


def test_tokens_of_an_array_become_a_tuple():
    assert spec(tokens=np.array(TOKENS, np.int32)) == spec()


@pytest.mark.parametrize("footprint", [6, 10])
def test_footprint_from_the_predicate_to_the_full_blocks(footprint):
    assert spec(footprint_blocks=footprint).num_footprint_blocks == footprint


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"footprint_blocks": 5}, id="below the predicate's need"),
        pytest.param({"footprint_blocks": 11}, id="a partial block"),
        pytest.param({"footprint_blocks": -1}, id="negative"),
        pytest.param({"footprint_blocks": 6.0}, id="not an int"),
        pytest.param({"footprint_blocks": True}, id="a flag"),
        pytest.param({"predicate": LeadingPrefix(11)}, id="predicate above the tokens"),
        pytest.param({"predicate": ContiguousRange(5, 6)}, id="range above the tokens"),
        pytest.param({"predicate": "leading_prefix_at_least(6)"}, id="predicate as text"),
        pytest.param({"tokens": []}, id="no tokens"),
        pytest.param({"tokens": [-1] * 40}, id="negative token"),
        pytest.param({"claim_id": ""}, id="no claim id"),
        pytest.param({"claim_id": 7}, id="claim id not a name"),
        pytest.param({"owner_scope": ""}, id="no owner"),
        pytest.param({"cache_identity": "model"}, id="identity as text"),
        pytest.param({"mode": "hard_protected"}, id="mode as text"),
        pytest.param({"mode": ProtectionMode.EXPIRING}, id="expiring without duration"),
        pytest.param({"duration": 5}, id="duration without unit"),
        pytest.param({"predicted_value": math.nan}, id="value nan"),
        pytest.param({"predicted_value": math.inf}, id="value infinite"),
        pytest.param({"predicted_value": -1.0}, id="value negative"),
        pytest.param({"predicted_value": "1"}, id="value as text"),
        pytest.param({"confidence": 1.5}, id="confidence above one"),
        pytest.param({"confidence": math.nan}, id="confidence nan"),
        pytest.param({"allowed_actions": (ClaimAction.DEMOTE,)}, id="hard claims permit nothing"),
        pytest.param(
            {"mode": ProtectionMode.DEMOTABLE, "allowed_actions": (ClaimAction.EXPIRE,)}, id="not of the mode"
        ),
        pytest.param({"mode": ProtectionMode.DEMOTABLE, "allowed_actions": ("demote",)}, id="action as text"),
        pytest.param(
            {"mode": ProtectionMode.OFFLOADABLE, "allowed_actions": (ClaimAction.DEMOTE,) * 2}, id="an action twice"
        ),
        pytest.param({"extra_keys": [None] * 11}, id="more keys than full blocks"),
        pytest.param({"extra_keys": ["key"]}, id="a key as text"),
    ],
)
def test_what_the_spec_alone_shows_to_be_wrong(changes):
    with pytest.raises(ContractError):
        spec(**changes)


@pytest.mark.parametrize("mode", ProtectionMode)
def test_actions_default_to_all_the_mode_permits(mode):
    claim = spec(mode=mode, duration=Duration(steps=1))
    assert claim.permitted_actions == PERMITTED_ACTIONS[mode]
    assert spec(mode=mode, duration=Duration(steps=1), allowed_actions=()).permitted_actions == ()


def test_actions_keep_the_owners_order():
    actions = (ClaimAction.EXPIRE, ClaimAction.OFFLOAD)
    assert spec(mode=ProtectionMode.OFFLOADABLE, allowed_actions=list(actions)).permitted_actions == actions


def test_expected_value_weighs_by_confidence():
    assert spec(predicted_value=8).expected_value == 8.0
    assert spec(predicted_value=8, confidence=0.25).expected_value == 2.0
    assert spec(confidence=0.25).expected_value is None


@pytest.mark.parametrize(("value", "confidence", "expected"), [(0, 1, 0.0), (3, 0, 0.0), (3, 1, 3.0)])
def test_bounds_belong_to_the_range(value, confidence, expected):
    assert spec(predicted_value=value, confidence=confidence).expected_value == expected


@pytest.mark.parametrize("unit", ["steps", "allocations", "nanoseconds"])
@pytest.mark.parametrize("amount", [0, -1, 1.5, math.nan, True])
def test_a_duration_is_a_positive_int(unit, amount):
    assert getattr(Duration(**{unit: 3}), unit) == 3
    with pytest.raises(ContractError, match=unit):
        Duration(**{unit: amount})


def test_a_duration_needs_a_unit():
    with pytest.raises(ContractError, match="needs"):
        Duration()
