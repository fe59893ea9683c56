"""The arbiter acts on the fewest, least valuable claims that make a demand fit, or on none."""

import time

import pytest

from residentkv.contract.arbiter import (
    PRESERVE_CLAIMS,
    RELAX_LEAST_VALUE,
    ArbiterPolicy,
    ConflictSnapshot,
    Plan,
    RelaxOrder,
    arbitrate,
)
from residentkv.contract.claim import ClaimAction

DEMOTE, EXPIRE, OFFLOAD = ClaimAction.DEMOTE, ClaimAction.EXPIRE, ClaimAction.OFFLOAD


def snapshot(blocks, needed, *, values=None, actions=None):
    """`blocks` each claim would free, by claim; the demand needs `needed` of them."""

    def sufficient(order):
        chosen = []
        for claim in order:
            if sum(blocks[c] for c in chosen) >= needed:
                break
            chosen.append(claim)
        if sum(blocks[c] for c in chosen) < needed:
            return ()
        for claim in reversed(chosen.copy()):
            if sum(blocks[c] for c in chosen) - blocks[claim] >= needed:
                chosen.remove(claim)
        return tuple(chosen)

    return ConflictSnapshot(
        blocking=sorted(blocks, key=lambda claim: -blocks[claim]),
        values=values or {},
        actions=actions or {},
        sufficient=sufficient,
    )


def test_names_what_would_suffice_even_if_nothing_is_permitted():
    assert arbitrate(snapshot({1: 40, 2: 20}, 30), RELAX_LEAST_VALUE) == Plan(actions=(), sufficient=(1,))


def test_acts_only_on_claims_that_permit_it():
    plan = arbitrate(snapshot({1: 40, 2: 20}, 20, actions={2: (DEMOTE,)}), RELAX_LEAST_VALUE)
    assert plan == Plan(actions=((2, DEMOTE),), sufficient=(1,))


def test_acts_on_none_if_the_permitted_do_not_suffice():
    plan = arbitrate(snapshot({1: 40, 2: 20}, 30, actions={2: (DEMOTE,)}), RELAX_LEAST_VALUE)
    assert plan == Plan(actions=(), sufficient=(1,))


def test_least_valuable_first_and_no_more_than_needed():
    values = {1: 9.0, 2: 1.0, 3: 5.0}
    actions = dict.fromkeys((1, 2, 3), (DEMOTE,))
    by_value = arbitrate(snapshot({1: 30, 2: 10, 3: 30}, 30, values=values, actions=actions), RELAX_LEAST_VALUE)
    assert by_value.actions == ((3, DEMOTE),)  # 2 is tried first, is not enough, and is not needed once 3 goes
    by_size = arbitrate(
        snapshot({1: 30, 2: 10, 3: 30}, 30, values=values, actions=actions), ArbiterPolicy(order=RelaxOrder.MOST_BLOCKS)
    )
    assert by_size.actions == ((1, DEMOTE),)


def test_claims_without_a_prediction_give_way_last_and_by_size():
    plan = arbitrate(snapshot({1: 10, 2: 30, 3: 20}, 60, values={1: 100.0}), RELAX_LEAST_VALUE)
    assert plan.sufficient == (1, 2, 3)


def test_equal_values_keep_the_blocking_order():
    plan = arbitrate(snapshot({1: 10, 2: 30, 3: 20}, 60, values=dict.fromkeys((1, 2, 3), 1.0)), RELAX_LEAST_VALUE)
    assert plan.sufficient == (2, 3, 1)


@pytest.mark.parametrize(
    ("permitted", "policy", "expected"),
    [
        ((OFFLOAD, DEMOTE), RELAX_LEAST_VALUE, ((1, OFFLOAD),)),
        ((DEMOTE, OFFLOAD), RELAX_LEAST_VALUE, ((1, DEMOTE),)),
        ((OFFLOAD, DEMOTE), ArbiterPolicy(actions=(DEMOTE, EXPIRE)), ((1, DEMOTE),)),
        ((DEMOTE,), ArbiterPolicy(actions=(EXPIRE,)), ()),
        ((DEMOTE,), PRESERVE_CLAIMS, ()),
        ((), RELAX_LEAST_VALUE, ()),
    ],
)
def test_the_owners_preference_among_what_the_policy_allows(permitted, policy, expected):
    assert arbitrate(snapshot({1: 10}, 10, actions={1: permitted}), policy).actions == expected


def test_nobody_in_the_way():
    assert arbitrate(snapshot({}, 10), RELAX_LEAST_VALUE) == Plan(actions=(), sufficient=())


@pytest.mark.parametrize("declared", ["nothing", "actions", "values", "both"])
def test_ten_thousand_claims_in_a_few_milliseconds(declared):
    claims = list(range(10_000))
    view = ConflictSnapshot(
        blocking=claims,
        values={claim: float(-claim) for claim in claims} if declared in ("values", "both") else {},
        actions=dict.fromkeys(claims, (DEMOTE,)) if declared in ("actions", "both") else {},
        sufficient=lambda order: order[:1],
    )
    fastest = min(_seconds(view) for _ in range(5))
    assert fastest < 0.02  # about a millisecond alone; the bound leaves room for a busy machine


def _seconds(view):
    start = time.thread_time()  # a busy machine interrupts it for others
    arbitrate(view, RELAX_LEAST_VALUE)
    return time.thread_time() - start


@pytest.mark.parametrize("order", list(RelaxOrder))
@pytest.mark.parametrize("needed", [1, 60, 90, 200, 301])
def test_trying_a_few_first_changes_nothing(order: RelaxOrder, needed: int):
    """More claims than are tried first; some without a value, most without an action."""
    blocks = dict.fromkeys(range(300), 1)
    values = {claim: float(claim * 7919 % 101) for claim in blocks if claim % 10}
    actions = {claim: (DEMOTE,) for claim in blocks if claim % 3 == 0}
    shot = snapshot(blocks, needed, values=values, actions=actions)
    in_order = list(shot.blocking)
    if order is RelaxOrder.LEAST_VALUE:
        in_order.sort(key=lambda claim: values.get(claim, 1e9))
    permitted = [claim for claim in in_order if claim in actions]
    plan = arbitrate(shot, ArbiterPolicy(order=order))
    assert plan.sufficient == (tuple(in_order[:needed]) if needed <= 300 else ())
    assert plan.actions == (tuple((claim, DEMOTE) for claim in permitted[:needed]) if needed <= 100 else ())
