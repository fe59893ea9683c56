"""The observer learns lives and fates, and notices every contradiction by itself."""

import pytest

from residentkv.conformance.observation import observe
from residentkv.conformance.trace import Trace
from residentkv.contract.claim import ClaimState
from unit.conformance.script import Script


def seen(script, *problems):
    return observe(Trace(tuple(script.events), problems))


def test_a_life_from_acceptance_to_loss():
    script = Script().accept().materialize().claim("claim_released").victim(1)
    script.claim("claim_block_lost_after_release", physical_block_id=1)
    observation = seen(script)
    life = observation.claims["a"]
    assert observation.problems == []
    assert observation.timeline == ["a accepted", "a materialized", "a released"]
    assert (life.mode, life.state, life.blocks, life.losses_after_end) == (
        "hard_protected",
        ClaimState.RELEASED,
        {0: 0},
        1,
    )
    assert life.reached(ClaimState.RELEASED) < life.evictions[0]
    assert life.reached(ClaimState.HARMED) is None
    assert observation.resident_victims("a", "r") == 1
    assert observation.resident_victims("a", "other") == 0
    assert observation.resident_victims("other", "r") == 0


def test_a_requests_fate():
    script = Script().accept().add("active_request_refused", request_id="r", blocking_claim_ids=["a"])
    script.claim("claim_preserved", request_id="r")
    script.add("active_request_admitted", request_id="s", reused_blocks=3).add("future_reuse_denied", request_id="s")
    observation = seen(script)
    assert observation.problems == []
    assert observation.timeline == ["a accepted", "r refused, blocked by a", "a preserved", "s admitted"]
    assert observation.request("r").outcome == "refused"
    assert observation.claims["a"].preserved_for == ["r"]
    assert (observation.request("s").future_reuse, observation.request("s").number("reused_blocks")) == ("denied", 3)


def test_silence_is_not_success():
    observation = seen(Script())
    nobody = observation.request("nobody")
    assert (nobody.outcome, nobody.future_reuse, nobody.number("new_blocks"), nobody.victims) == (
        "absent",
        "absent",
        None,
        [],
    )
    assert observation.claims_in(ClaimState.ACCEPTED) == []


def test_a_rejection_is_told_with_its_reason():
    script = Script().claim("claim_submitted").claim("claim_rejected", reject_reason="capacity")
    assert seen(script).timeline == ["a rejected: capacity"]


def test_harm_is_kept_and_counted():
    script = Script().accept().materialize().claim("claim_harmed", harm_cause="fault")
    observation = seen(script)
    assert observation.claims["a"].harm["harm_cause"] == "fault"
    assert observation.num_harms == 1
    assert observation.claims_in(ClaimState.HARMED) == ["a"]


def test_problems_of_the_file_are_kept():
    assert seen(Script(), "line 1: not JSON").problems == ["line 1: not JSON"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        pytest.param(Script().claim("claim_accepted"), "was never submitted", id="acceptance from nowhere"),
        pytest.param(Script().claim("claim_submitted").materialize(), "was not accepted", id="block before acceptance"),
        pytest.param(
            Script().claim("claim_submitted").claim("claim_preserved", request_id="r"),
            "was not accepted",
            id="preserved before acceptance",
        ),
        pytest.param(Script().claim("claim_harmed"), "was never submitted", id="harm without acceptance"),
        pytest.param(Script().accept().claim("claim_harmed"), "harm is not allowed while accepted", id="early harm"),
        pytest.param(Script().accept().accept(), "is submitted while it lives", id="one name, two lives"),
        pytest.param(
            Script().accept().claim("claim_released").claim("claim_harmed"),
            "harm is not allowed while released",
            id="harm after release",
        ),
        pytest.param(
            Script().accept().block(0, 0).claim("claim_materialized"), "do not satisfy its predicate", id="half there"
        ),
        pytest.param(
            Script().accept().block(0, 1).block(1, 2).claim("claim_materialized"),
            "do not satisfy its predicate",
            id="enough blocks, not the leading ones",
        ),
        pytest.param(
            Script().accept(materialization_predicate="most of it").materialize(materialization_predicate="most of it"),
            "do not satisfy its predicate",
            id="a predicate nobody can check",
        ),
        pytest.param(
            Script().accept().materialize(reusable_object_id="y"), "changes reusable_object_id", id="another object"
        ),
        pytest.param(
            Script().accept().materialize(materialization_predicate="leading_prefix_at_least(1)"),
            "changes materialization_predicate",
            id="another predicate",
        ),
        pytest.param(
            Script().accept().materialize().claim("claim_block_lost_after_release"),
            "lost a block after its end while materialized",
            id="lost after an end that was not",
        ),
        pytest.param(Script().victim(0, is_protected_resident=True), "a victim although protected", id="own words"),
        pytest.param(Script().victim(0, is_protected_resident=None), "a victim although protected", id="no words"),
        pytest.param(
            Script().accept().materialize().victim(1), "a victim although a protects it", id="a protected victim"
        ),
        pytest.param(
            Script().add("active_request_refused", request_id="r", blocking_claim_ids=["a"]),
            "blocked by a, which holds nothing",
            id="blocked by nobody",
        ),
        pytest.param(
            Script()
            .accept()
            .claim("claim_demoted")
            .add("active_request_deferred", request_id="r", blocking_claim_ids=["a"]),
            "blocked by a, which holds nothing",
            id="blocked by the past",
        ),
        pytest.param(
            Script().claim("claim_submitted").add("active_request_refused", request_id="r", blocking_claim_ids=["a"]),
            "blocked by a, which holds nothing",
            id="blocked by a wish",
        ),
    ],
)
def test_contradictions_are_noticed(script, problem):
    assert problem in "".join(seen(script).problems[:1])


def test_a_planned_claim_protects_the_blocks_it_has():
    life = seen(Script().accept().block(0, 0)).claims["a"]
    assert (life.mode, life.blocks) == ("hard_protected", {0: 0})
    assert len(seen(Script().accept().block(0, 0).victim(0)).problems) == 1


def test_only_the_owner_of_a_block_loses_it():
    script = (
        Script().accept().materialize().claim("claim_demoted").accept("b").materialize("b", first_block=4).victim(1)
    )
    observation = seen(script)
    assert observation.problems == []
    assert {name: len(life.evictions) for name, life in observation.claims.items()} == {"a": 1, "b": 0}


def test_soft_claims_may_lose_blocks():
    soft = {"protection_mode": "soft_priority"}
    assert seen(Script().accept(**soft).materialize(**soft).victim(1)).problems == []


def test_an_ended_claim_may_lose_blocks():
    assert seen(Script().accept().materialize().claim("claim_demoted").victim(1)).problems == []


def test_a_name_may_live_again():
    script = Script().accept().claim("claim_released").accept().materialize()
    assert seen(script).problems == []
    assert seen(script).claims["a"].state is ClaimState.MATERIALIZED


def test_the_alias_of_a_demotion_is_read():
    script = Script().accept().materialize().claim("claim_demoted")
    script.events[-1]["event"] = "resident_claim_relaxed"
    assert seen(script).claims_in(ClaimState.DEMOTED) == ["a"]
