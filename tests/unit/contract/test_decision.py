"""The conflict record has exactly the fields of contract.md section 5, and its JSON the same names."""

import json

from residentkv.contract.decision import ArbiterAction, ConflictRecord, Feasibility

RECORD = ConflictRecord(
    active_live_blocks_required=70,
    active_live_blocks_current=0,
    usable_blocks=80,
    protected_resident_blocks=60,
    resident_plus_active_blocks=130,
    free_blocks_before_allocate=20,
    capacity_shortfall_blocks=50,
    feasibility=Feasibility.INFEASIBLE_PRESERVE_RESIDENT_AND_ACTIVE,
    blocking_claim_ids=("a", "b"),
    sufficient_claim_ids=("b",),
    protected_resident_claims=("b", "a"),
    future_reuse_requested=True,
    future_reuse_admitted=False,
    arbiter_action=ArbiterAction.REFUSE_ACTIVE,
)


def test_record_on_the_wire():
    assert json.loads(json.dumps(RECORD.as_fields())) == {
        "active_live_blocks_required": 70,
        "active_live_blocks_current": 0,
        "usable_blocks": 80,
        "protected_resident_blocks": 60,
        "resident_plus_active_blocks": 130,
        "free_blocks_before_allocate": 20,
        "capacity_shortfall_blocks": 50,
        "feasibility": "infeasible_preserve_resident_and_active",
        "blocking_claim_ids": ["a", "b"],
        "sufficient_claim_ids": ["b"],
        "protected_resident_claims": ["b", "a"],
        "future_reuse_requested": True,
        "future_reuse_admitted": False,
        "arbiter_action": "refuse_active",
    }


def test_actions_are_those_of_the_contract():
    assert " ".join(action.value for action in ArbiterAction) == (
        "serve_active_preserve_resident serve_active_no_admit serve_active_evict_resident offload_resident "
        "relax_resident_claim expire defer_active refuse_active bound_active_live recompute_split offload_active "
        "route_elsewhere capacity_required"
    )
