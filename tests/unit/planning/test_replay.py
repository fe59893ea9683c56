from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from residentkv import ClaimSpec, Duration, JsonlSink, LeadingPrefix, MemorySink, ProtectionMode
from residentkv.contract.errors import ContractError
from residentkv.planning.planned_claim import PlannedClaim
from residentkv.planning.replay import Replay, ReplayOptions, replay_identity
from residentkv.planning.replay_statistics import ReplayStatistics
from residentkv.planning.request_trace import RequestTrace, TokenPrompt, TraceRequest, read_requests
from residentkv.planning.service_model import ServiceModel
from tests.unit.planning.traces import write_trace

IDENTITY = replay_identity(16)


@pytest.fixture
def trace(tmp_path: Path) -> RequestTrace:
    return read_requests(write_trace(tmp_path / "trace.jsonl"))


def request(number: int, tokens: range, num_output_tokens: int, arrival_s: float = 0.0) -> TraceRequest:
    return TraceRequest(number, round(arrival_s * 1e9), TokenPrompt(np.array(tokens, np.int32)), num_output_tokens)


def claim(claim_id: str, tokens: range, **terms: Any) -> PlannedClaim:
    return PlannedClaim(0, ClaimSpec(claim_id, "tenant", IDENTITY, tokens, LeadingPrefix(len(tokens) // 16), **terms))


def run(requests: tuple[TraceRequest, ...], sink: MemorySink | None = None, **options: Any) -> ReplayStatistics:
    claims = options.pop("claims", ())
    sinks = () if sink is None else (sink,)
    with Replay(requests, ReplayOptions(**options), claims=claims, sinks=sinks) as replay:
        return replay.run()


def test_everything_is_served_and_adds_up(trace: RequestTrace):
    sink = MemorySink()
    statistics = run(trace.requests, sink, usable_blocks=2000, max_running=8)
    events = Counter(event["event"] for event in sink.events)
    assert statistics.num_finished == statistics.num_requests == 60 == len(statistics.first_token_ns)
    assert statistics.generated_tokens == sum(request.num_output_tokens for request in trace.requests)
    assert statistics.prompt_tokens == sum(request.prompt.num_tokens for request in trace.requests)
    assert events["active_request_admitted"] == 60 + statistics.num_preempted
    assert events["active_request_deferred"] >= statistics.num_deferred
    assert statistics.cached_tokens > 0
    assert statistics.num_evictions > 0
    if not statistics.num_preempted:
        assert statistics.computed_tokens == statistics.prompt_tokens - statistics.cached_tokens


def test_a_larger_pool_recomputes_nothing(trace: RequestTrace):
    small, large = (run(trace.requests, usable_blocks=blocks, max_running=8) for blocks in (1000, 100_000))
    assert large.recomputed_tokens == 0
    assert large.num_evictions == 0
    assert small.recomputed_tokens > 0
    assert small.cached_tokens < large.cached_tokens


def test_the_same_seed_writes_the_same_bytes_and_another_decides_the_same(trace: RequestTrace, tmp_path: Path):
    written = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ReplayOptions(usable_blocks=1000, max_running=8, seed=seed, block_events=True)
        with Replay(trace.requests, options, sinks=(JsonlSink(tmp_path / name),)) as replay:
            replay.run()
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    assert written[2] != written[0]
    assert written[2].replace(b"replay-seed-2", b"replay-seed-1") == written[0]


def test_time_is_the_service_models():
    service = ServiceModel(prefill_tokens_per_s=100.0, step_overhead_s=1.0, decode_request_s=0.5)
    statistics = run(
        (request(0, range(150), 3, arrival_s=2.0),), service=service, max_tokens_per_step=100, max_running=4
    )
    # 100 tokens, 50 tokens and the first new one, then two decodes; it arrives at 2 s
    assert statistics.num_steps == 4
    assert statistics.first_token_ns == [3_500_000_000]
    assert statistics.simulated_ns == 2_000_000_000 + 3_500_000_000 + 2 * 1_500_000_000


def test_a_request_beside_a_claim_that_leaves_no_room_is_refused_and_the_ledger_says_by_whom():
    claims = (claim("system", range(160)),)
    requests = (request(0, range(170), 1), request(1, range(9000, 9000 + 16 * 30), 1, arrival_s=1))
    statistics = run(requests, usable_blocks=32, claims=claims)
    assert (statistics.num_finished, dict(statistics.refusals)) == (1, {"infeasible_preserve_resident_and_active": 1})
    ledger = statistics.claims["system"]
    assert (ledger.num_refusals, ledger.num_hits, ledger.outcome) == (1, 0, "materialized")


def test_a_claim_keeps_a_prefix_that_pressure_would_evict():
    shared = range(16 * 10)
    pressure = tuple(request(i, range(1000 * i, 1000 * i + 16 * 18), 1, arrival_s=i) for i in range(1, 6))
    asks = (request(0, range(165), 1), *pressure, request(9, range(170), 1, arrival_s=9))
    without = run(asks, usable_blocks=32)
    with_claim = run(asks, usable_blocks=32, claims=(claim("shared", shared),))
    assert (without.cached_tokens, without.recomputed_tokens) == (0, 160)
    assert (with_claim.cached_tokens, with_claim.recomputed_tokens) == (160, 0)
    assert (with_claim.claims["shared"].num_hits, with_claim.claims["shared"].reused_tokens) == (1, 160)


def test_a_claim_expires_on_the_traces_clock():
    expiring = claim("c", range(160), mode=ProtectionMode.EXPIRING, duration=Duration(nanoseconds=10**9))
    asks = (request(0, range(165), 1), request(1, range(5000, 5000 + 16 * 30), 1, arrival_s=5))
    statistics = run(asks, usable_blocks=32, claims=(expiring,))
    assert (statistics.num_finished, statistics.claims["c"].outcome) == (2, "expired")


def test_without_room_for_all_the_latest_admitted_is_preempted_and_comes_back():
    requests = tuple(request(i, range(1000 * i, 1000 * i + 160), 100) for i in range(4))
    statistics = run(requests, usable_blocks=44, max_running=4)
    assert statistics.num_finished == 4
    assert statistics.num_preempted > 0
    assert statistics.generated_tokens == 400


def test_a_request_larger_than_the_pool_is_refused_without_blame():
    statistics = run((request(0, range(16 * 40), 1),), usable_blocks=32)
    assert sum(statistics.refusals.values()) == 1
    assert statistics.num_left_waiting == 0


def test_more_running_requests_than_tokens_in_a_step_is_an_error():
    with pytest.raises(ContractError, match="max_running=256"):
        ReplayOptions(max_tokens_per_step=100)
