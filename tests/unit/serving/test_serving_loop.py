"""What the loop does with the manager's answers: order, limits, failures, and what it tells its caller."""

from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest

from residentkv.contract.claim import ClaimSpec
from residentkv.contract.decision import Admitted, Deferred
from residentkv.contract.errors import ContractError
from residentkv.contract.predicate import LeadingPrefix
from residentkv.serving.greedy_reference import greedy_reference
from residentkv.serving.model_loading import LoadedModel
from residentkv.serving.model_runner import Int32Array, ModelRunner, PlannedStep
from residentkv.serving.serving_loop import LoopOptions, ServingLoop
from residentkv.serving.serving_request import (
    Finished,
    FinishReason,
    LoopEvent,
    Preempted,
    ServingRequest,
    TokenGenerated,
)
from tests.unit.serving.serving_bench import Bench


def prompt(seed: int, length: int) -> list[int]:
    return np.random.default_rng(seed).integers(3, 64, length).tolist()


def told(events: Sequence[LoopEvent]) -> list[str]:
    """Events as words, tokens left out."""
    return [
        f"{event.request_id} {type(event).__name__.lower()}"
        for event in events
        if not isinstance(event, TokenGenerated)
    ]


class StepSizes(ModelRunner):
    """Runs as usual and remembers how many tokens each request had in each step."""

    seen: list[list[int]]

    def run(self, plan: PlannedStep, token_ids: Int32Array, num_tokens: Sequence[int]) -> list[int]:
        self.seen = [*getattr(self, "seen", []), list(num_tokens)]
        return super().run(plan, token_ids, num_tokens)


class FailsOnce(ModelRunner):
    """Writes the step's KV, then fails in its third step: what was written must not be trusted."""

    calls = 0

    def run(self, plan: PlannedStep, token_ids: Int32Array, num_tokens: Sequence[int]) -> list[int]:
        self.calls += 1
        next_tokens = super().run(plan, token_ids, num_tokens)
        if self.calls == 3:
            raise RuntimeError("the device fell over")
        return next_tokens


def test_a_request_from_submission_to_its_last_token(tiny_llama: LoadedModel) -> None:
    bench, request = Bench(tiny_llama, usable_blocks=10), ServingRequest("r", prompt(0, 6), 3)
    bench.submit(request)
    assert bench.loop.waiting == (request,)
    events = [bench.step() for _ in range(3)]
    tokens = request.generated
    assert events == [
        [Admitted("r", 0, 0, 2), TokenGenerated("r", tokens[0])],
        [TokenGenerated("r", tokens[1])],
        [TokenGenerated("r", tokens[2]), Finished("r", FinishReason.LENGTH)],
    ]
    assert request.finish_reason is FinishReason.LENGTH
    assert bench.loop.waiting == bench.loop.running == ()
    assert bench.step() == []
    assert bench.manager.pool.request_ids() == ()


def test_a_stop_token_ends_a_request_and_is_its_last_token(tiny_llama: LoadedModel) -> None:
    tokens = prompt(0, 6)
    answer = greedy_reference(LoadedModel(tiny_llama.model, None, "tiny", frozenset()), tokens, max_new_tokens=8)
    stop = answer[4]
    assert stop not in answer[:4]
    bench = Bench(tiny_llama, usable_blocks=10)
    request = ServingRequest("r", tokens, 8, frozenset({stop, 63}))
    assert bench.served(request) == [answer[:5]]
    assert request.finish_reason is FinishReason.STOP_TOKEN


def test_prompts_are_cut_so_that_no_step_exceeds_its_budget(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=60, max_tokens_per_step=7, runner=StepSizes)
    bench.served(*[ServingRequest(f"r{number}", prompt(number, 10), 3) for number in range(3)])
    seen = bench.loop._runner.seen
    assert all(sum(sizes) <= 7 for sizes in seen)
    assert seen[:3] == [[7], [3, 4], [1, 6]]  # the oldest prompt first; a decode keeps its place beside the chunks


def test_at_most_max_running_requests_hold_blocks(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=60, max_tokens_per_step=2)  # so max_running is 2
    bench.submit(*[ServingRequest(f"r{number}", prompt(number, 4), 2) for number in range(4)])
    most = 0
    while bench.loop.waiting or bench.loop.running:
        bench.step()
        most = max(most, len(bench.loop.running))
    assert most == 2


def test_nobody_overtakes_a_deferred_request(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=10)
    bench.served(
        ServingRequest("first", prompt(0, 20), 8),  # 5 to 7 of 10 blocks
        ServingRequest("large", prompt(1, 28), 4),  # 7 blocks: waits
        ServingRequest("small", prompt(2, 3), 1),  # would fit at once
    )
    assert told(bench.events) == [
        "first admitted",
        "large deferred",
        "first finished",
        "large admitted",
        "small admitted",
        "small finished",
        "large finished",
    ]


def test_a_refused_request_leaves_and_the_next_one_is_served(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=10)
    claim = ClaimSpec("system", "me", bench.identity, prompt(9, 24), LeadingPrefix(6))
    bench.manager.claims.submit(claim)
    large, small = ServingRequest("large", prompt(0, 20), 4), ServingRequest("small", prompt(1, 8), 4)
    bench.served(large, small)
    assert told(bench.events) == ["large refused", "small admitted", "small finished"]
    assert large.refusal is not None
    assert large.refusal.record.blocking_claim_ids == ("system",)
    assert large.generated == []
    assert large.row is None


def test_run_stops_when_only_others_could_make_room(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=6)
    bench.manager.admit("elsewhere", prompt(5, 16), max_new_tokens=1)  # 4 blocks, outside of the loop
    request = ServingRequest("r", prompt(0, 12), 4)
    bench.submit(request)
    assert told(list(bench.loop.run())) == ["r deferred"]
    assert bench.loop.waiting == (request,)
    assert request.last_deferral is not None
    assert request.last_deferral.record.capacity_shortfall_blocks == 1
    bench.manager.finish("elsewhere")
    assert told(list(bench.loop.run())) == ["r admitted", "r finished"]
    assert request.last_deferral is None


def test_run_stops_when_others_hold_what_it_needs_to_grow(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=6)
    bench.manager.admit("elsewhere", prompt(5, 12), max_new_tokens=1)  # 3 blocks, outside of the loop
    request = ServingRequest("r", prompt(0, 12), 4)  # 3 now, a fourth with its second token
    bench.submit(request)
    assert told(list(bench.loop.run())) == ["r admitted", "r preempted"]
    assert bench.loop.waiting == (request,)
    bench.manager.finish("elsewhere")
    assert told(list(bench.loop.run())) == ["r admitted", "r finished"]
    endless = LoadedModel(tiny_llama.model, None, "tiny", frozenset())
    assert request.generated == greedy_reference(endless, request.prompt, max_new_tokens=4)


def test_a_request_that_the_manager_rejects_is_reported_once(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=10)
    bench.submit(ServingRequest("r", prompt(0, 4), 2), ServingRequest("r", prompt(1, 4), 2))
    with pytest.raises(ContractError, match="'r'"):
        bench.step()
    bench.served()
    assert told(bench.events) == ["r finished"]  # the step that raised had admitted it


def test_only_running_requests_are_requeued(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=10)
    request = ServingRequest("r", prompt(0, 4), 3)
    bench.submit(request)
    bench.step()
    with pytest.raises(ContractError, match="'x' is not running here"):
        bench.loop.requeue(["r", "x"])
    assert bench.loop.running == (request,)
    bench.loop.requeue(bench.manager.reset())
    assert bench.loop.waiting == (request,)
    assert (request.num_written, request.num_pending_tokens) == (0, 5)
    bench.served()


def test_a_deferral_is_told_once(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=10)
    bench.served(ServingRequest("first", prompt(0, 20), 9), ServingRequest("second", prompt(1, 28), 4))
    assert len(bench.of_kind(Deferred)) == 1


def test_without_room_the_latest_admitted_gives_way_and_resumes_first(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=8)
    bench.served(*[ServingRequest(f"r{number}", prompt(number, 8), 20) for number in range(4)])
    order = told(bench.events)
    assert order[:5] == ["r0 admitted", "r1 admitted", "r2 admitted", "r3 admitted", "r3 preempted"]
    assert [word for word in order if word.endswith("finished")] == [f"r{number} finished" for number in range(4)]
    preempted = bench.of_kind(Preempted)[0]
    assert isinstance(preempted, Preempted)
    assert preempted.cause.shortfall > 0
    resumed = order.index("r3 admitted", 4)
    assert order.index("r1 finished") < resumed or order.index("r0 finished") < resumed


def test_generation_without_a_limit_ends_where_claims_begin(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=10)
    bench.manager.claims.submit(ClaimSpec("system", "me", bench.identity, prompt(9, 24), LeadingPrefix(6)))
    request = ServingRequest("r", prompt(0, 5), None)
    bench.served(request)
    assert request.finish_reason is FinishReason.NO_ROOM
    assert len(request.prompt) + len(request.generated) == 4 * 4 + 1  # its four blocks are full, one token is pending
    assert bench.manager.pool.request_ids() == ()


def test_a_failed_step_leaves_no_trace_in_the_tokens(tiny_llama: LoadedModel) -> None:
    prompts = [prompt(seed, 9) for seed in range(3)]
    bench = Bench(tiny_llama, usable_blocks=40, max_tokens_per_step=12, runner=FailsOnce)
    requests = [ServingRequest(f"r{number}", tokens, 6) for number, tokens in enumerate(prompts)]
    bench.submit(*requests)
    with pytest.raises(RuntimeError, match="fell over"):
        list(bench.loop.run())
    bench.manager.pool.check_invariants()
    assert bench.manager.pool.counts().num_steps_in_flight == 0
    bench.served()
    endless = LoadedModel(tiny_llama.model, None, "tiny", frozenset())
    assert [request.generated for request in requests] == [
        greedy_reference(endless, tokens, max_new_tokens=6) for tokens in prompts
    ]


def test_time_to_first_token_counts_from_submission(tiny_llama: LoadedModel) -> None:
    bench, ticks = Bench(tiny_llama, usable_blocks=10), count(100)
    loop = ServingLoop(bench.manager, bench.loop._runner, clock=lambda: float(next(ticks)))
    request = ServingRequest("r", prompt(0, 4), 3)
    assert request.time_to_first_token_s is None
    loop.submit(request)
    list(loop.run())
    assert (request.submitted_s, request.first_token_s, request.time_to_first_token_s) == (100.0, 101.0, 1.0)


def test_events_reach_the_sinks_once_a_step(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=10)
    bench.submit(ServingRequest("r", prompt(0, 6), 4))
    assert bench.delivered == []
    bench.step()
    assert bench.delivered == ["active_request_admitted", "future_reuse_admitted"]
    assert bench.manager.events.num_pending == 0


def test_only_a_decoding_request_can_be_forked(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=20, max_tokens_per_step=3)
    request = ServingRequest("r", prompt(0, 8), 4)
    bench.submit(request)
    bench.step()  # 3 of 8 prompt tokens
    with pytest.raises(ContractError, match="'r' is not decoding"):
        bench.loop.fork("r", "child", next_token=5)
    with pytest.raises(ContractError, match="'nobody' is not running here"):
        bench.loop.fork("nobody", "child", next_token=5)
    bench.step_until(lambda: bool(request.generated))
    assert isinstance(bench.loop.fork("r", "child", next_token=5), ServingRequest)
    assert isinstance(bench.loop.fork("r", "child2", next_token=6), ServingRequest)
    with pytest.raises(ContractError, match="max_running=3"):
        bench.loop.fork("r", "child3", next_token=7)
    bench.served()


def test_forks_share_a_full_pool_by_taking_turns(tiny_llama: LoadedModel) -> None:
    bench = Bench(tiny_llama, usable_blocks=6)
    parent = ServingRequest("r", prompt(0, 12), 10)
    bench.submit(parent)
    bench.step()
    child = bench.loop.fork("r", "child", next_token=5)  # both will need all six blocks
    assert isinstance(child, ServingRequest)
    bench.served()
    assert told(bench.events)[-4:] == ["child preempted", "r finished", "child admitted", "child finished"]
    endless = LoadedModel(tiny_llama.model, None, "tiny", frozenset())
    assert parent.generated == greedy_reference(endless, parent.prompt, max_new_tokens=10)
    assert child.generated == [5, *greedy_reference(endless, [*parent.prompt, 5], max_new_tokens=9)]


@pytest.mark.parametrize(("max_tokens", "max_running"), [(0, 0), (4, 5), (4, 0)])
def test_limits_that_make_no_sense_are_refused(max_tokens: int, max_running: int) -> None:
    with pytest.raises(ContractError, match="max_running="):
        LoopOptions(max_tokens_per_step=max_tokens, max_running=max_running)


@pytest.mark.parametrize(("tokens", "new"), [([], 1), ([1], 0), ([1], -1)])
def test_requests_that_make_no_sense_are_refused(tokens: list[int], new: int) -> None:
    with pytest.raises(ContractError, match="must be positive"):
        ServingRequest("r", tokens, new)


def test_model_and_storage_must_share_a_device(tiny_llama: LoadedModel) -> None:
    class Elsewhere:
        device = "meta"

    with pytest.raises(ContractError, match="the storage on meta"):
        ModelRunner(tiny_llama, Elsewhere())
