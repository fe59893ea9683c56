"""The random histories that both model tests share: requests and steps. Claims are added in test_claims.py."""

import sys
from collections.abc import Callable, Mapping
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.facts import Request
from tests.model.world_faults import FaultWorld

# Two letters and short texts: equal prefixes, duplicates and near misses are the rule, not the exception.
TOKENS = st.sampled_from([1, 1, 1, 2])
TAILS = st.lists(TOKENS, min_size=1, max_size=9)
EXTRAS = st.sampled_from([(), (), (), (), (b"x",), (None, b"x"), (b"", b"x")])
NEW = st.sampled_from([-1, -1, 0, 1, 4, 9])
SHAPES = st.sampled_from(["same", "same", "longer", "branch", "branch", "other root"])


class RequestMachine(RuleBasedStateMachine):
    """One rule that draws what to do by weight: Hypothesis alone would spend most steps on calls that do nothing."""

    world: FaultWorld
    WEIGHTS: ClassVar[Mapping[str, int]] = {
        "serve": 4,
        "admit": 3,
        "run": 4,
        "plan": 6,
        "commit": 6,
        "fail": 1,
        "fork": 4,
        "rewind": 1,
        "preempt": 2,
        "resume": 3,
        "finish": 3,
    }

    @initialize(
        usable=st.integers(3, 14),
        block_size=st.sampled_from([2, 2, 1, 3, 4]),
        null_block=st.booleans(),
        rows=st.integers(2, 6),
    )
    def build(self, usable: int, block_size: int, null_block: bool, rows: int) -> None:
        self.world = FaultWorld(usable, block_size, null_block=null_block, max_requests=rows)
        self.texts: list[tuple[int, list[int]]] = [(0, [1])]  # (root, tokens) seen so far, for others to share

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        possible = [name for name, weight in self.WEIGHTS.items() if self.can(name) for _ in range(weight)]
        action: Callable[[st.DataObject], None] = getattr(self, data.draw(st.sampled_from(possible), label="action"))
        action(data)

    def can(self, action: str) -> bool:
        steps, running = self.world.steps, self.those("running")
        has_row = len(self.world.facts.requests) < self.world.max_requests
        return {
            "serve": has_row and not steps,
            "admit": has_row,
            "run": bool(running) and not steps,
            "plan": bool(running) and len(steps) < 2,
            "commit": bool(steps),
            "fail": bool(steps),
            "fork": has_row and bool(self.forkable()),
            "rewind": bool(running),
            "preempt": bool(running),
            "resume": bool(self.those("preempted")),
            "finish": bool(self.those("running", "preempting", "preempted")),
        }[action]

    def those(self, *statuses: str) -> list[Request]:
        return [request for request in self.world.facts.requests if request.status in statuses]

    def forkable(self) -> list[Request]:
        idle = [request for request in self.those("running") if not request.num_in_flight]
        return [request for request in idle if request.written == len(request.tokens)]

    def text(self, data: st.DataObject) -> tuple[int, list[int]]:
        """Something seen before, all of it or a prefix, as it is or continued."""
        root, seen = data.draw(st.sampled_from(self.texts[-8:]), label="text")
        shape = data.draw(SHAPES, label="shape")
        kept = len(seen) if shape in ("same", "longer") else data.draw(st.integers(0, len(seen)), label="kept")
        tail = [] if shape == "same" and len(seen) > 1 else data.draw(TAILS, label="tail")
        longest = self.world.facts.usable * self.world.facts.block_size
        text = (root if shape != "other root" else 1 - root), (seen[:kept] + tail)[:longest]
        if text not in self.texts:
            self.texts.append(text)
        return text

    # --- requests ---

    def admit(self, data: st.DataObject) -> None:
        root, tokens = self.text(data)
        new, extras = data.draw(NEW, label="new"), data.draw(EXTRAS, label="extras")
        reuse = data.draw(st.integers(0, 4), label="reuse") > 0
        self.world.expire_due(lambda: self.world.admit(tokens, new, root, extras, reuse=reuse))

    def serve(self, data: st.DataObject) -> None:
        """Admit and compute; then the request goes, or stays."""
        root, tokens = self.text(data)
        request = self.world.expire_due(lambda: self.world.admit(tokens, -1, root))
        if request is not None:
            known = tokens[request.planned :]
            self.world.expire_due(lambda: self.world.plan({request.key: known}))
        if self.world.steps:
            self.world.commit()
        if request is not None and data.draw(st.booleans(), label="leave"):
            self.world.finish(request)

    def finish(self, data: st.DataObject) -> None:
        self.world.finish(data.draw(st.sampled_from(self.those("running", "preempting", "preempted"))))

    def preempt(self, data: st.DataObject) -> None:
        self.world.preempt(data.draw(st.sampled_from(self.those("running"))))

    def resume(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.those("preempted")))
        self.world.expire_due(lambda: self.world.resume(request))

    def fork(self, data: st.DataObject) -> None:
        parent = data.draw(st.sampled_from(self.forkable()))
        self.world.expire_due(lambda: self.world.fork(parent))

    def rewind(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.those("running")))
        committed = len(request.published) * self.world.facts.block_size
        self.world.rewind(request, data.draw(st.integers(committed, request.planned), label="to"))

    # --- steps ---

    def batch(self, data: st.DataObject, requests: list[Request], *, everything: bool) -> dict[int, list[int]]:
        """What each request is fed: known tokens first, then some of its own."""
        longest = self.world.facts.usable * self.world.facts.block_size
        fed = {}
        for request in requests:
            left = len(request.tokens) - request.planned
            count = left if everything else data.draw(st.integers(1, max(1, left + 3)), label="tokens")
            most = (longest if request.limit is None else request.limit) - request.planned
            count = min(max(1, count), most)
            if count > 0:
                known = request.tokens[request.planned : request.planned + count]
                fed[request.key] = known + [data.draw(TOKENS) for _ in range(count - len(known))]
        return fed

    def plan(self, data: st.DataObject) -> None:
        some = st.lists(st.sampled_from(self.those("running")), min_size=1, unique_by=lambda request: request.key)
        if fed := self.batch(data, data.draw(some, label="batch"), everything=False):
            self.world.expire_due(lambda: self.world.plan(fed))

    def commit(self, data: st.DataObject) -> None:
        counts = [len(entry.fed) for entry in self.world.steps[0].entries]
        all_valid = data.draw(st.integers(0, 2), label="all valid") > 0
        valid = None if all_valid else [data.draw(st.integers(0, count), label="valid") for count in counts]
        self.world.commit(valid)

    def run(self, data: st.DataObject) -> None:
        """The usual case: everybody's known tokens, then one more each, and all of it is right."""
        for _ in range(data.draw(st.integers(1, 3), label="steps")):
            if fed := self.batch(data, self.those("running"), everything=True):
                self.world.expire_due(lambda fed=fed: self.world.plan(fed))
            if self.world.steps:
                self.world.commit()

    def fail(self, data: st.DataObject) -> None:
        self.world.fail(data.draw(st.sampled_from([step.number for step in self.world.steps])))

    # --- the end ---

    def teardown(self) -> None:
        if hasattr(self, "world") and sys.exc_info()[0] is None:
            self.world.leave_nothing()
