"""The random histories that both model tests share: requests and steps. Claims are added in test_claims.py."""

import sys

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.model.facts import Request
from tests.model.world_faults import FaultWorld

# Two letters and short texts: equal prefixes, duplicates and near misses are the rule, not the exception.
TOKENS = st.integers(1, 2)
TAILS = st.lists(TOKENS, min_size=0, max_size=9)
EXTRAS = st.sampled_from([(), (), (), (), (b"x",), (None, b"x"), (b"", b"x")])


class RequestMachine(RuleBasedStateMachine):
    world: FaultWorld

    @initialize(
        usable=st.integers(2, 14), block_size=st.integers(1, 3), null_block=st.booleans(), rows=st.integers(2, 6)
    )
    def build(self, usable: int, block_size: int, null_block: bool, rows: int) -> None:
        self.world = FaultWorld(usable, block_size, null_block=null_block, max_requests=rows)
        self.texts: list[tuple[int, list[int]]] = [(0, [1])]  # (root, tokens) seen so far, for others to share

    # --- drawing ---

    def those(self, *statuses: str) -> list[Request]:
        return [request for request in self.world.facts.requests if request.status in statuses]

    def forkable(self) -> list[Request]:
        idle = [request for request in self.those("running") if not request.num_in_flight]
        if len(self.world.facts.requests) == self.world.max_requests:
            return []
        return [request for request in idle if request.written == len(request.tokens)]

    def text(self, data: st.DataObject) -> tuple[int, list[int]]:
        """A prefix of something seen before, continued."""
        root, seen = data.draw(st.sampled_from(self.texts[-12:]))
        if data.draw(st.integers(0, 7)) == 0:
            root = 1 - root
        kept = data.draw(st.integers(0, len(seen)))
        longest = self.world.facts.usable * self.world.facts.block_size
        return root, (seen[:kept] + data.draw(TAILS))[:longest] or [1]

    # --- requests ---

    @precondition(lambda self: len(self.world.facts.requests) < self.world.max_requests)
    @rule(data=st.data(), new=st.sampled_from([-1, -1, 0, 1, 4, 9]), extras=EXTRAS, reuse=st.integers(0, 4))
    def admit(self, data: st.DataObject, new: int, extras: tuple[bytes | None, ...], reuse: int) -> None:
        root, tokens = self.text(data)
        self.texts.append((root, tokens))
        self.world.expire_due(lambda: self.world.admit(tokens, new, root, extras, reuse=reuse > 0))

    @precondition(lambda self: self.those("running", "preempting", "preempted"))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.world.finish(data.draw(st.sampled_from(self.those("running", "preempting", "preempted"))))

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def preempt(self, data: st.DataObject) -> None:
        self.world.preempt(data.draw(st.sampled_from(self.those("running"))))

    @precondition(lambda self: self.those("preempted"))
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.those("preempted")))
        self.world.expire_due(lambda: self.world.resume(request))

    @precondition(lambda self: self.forkable())
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        parent = data.draw(st.sampled_from(self.forkable()))
        self.world.expire_due(lambda: self.world.fork(parent))

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.those("running")))
        committed = len(request.published) * self.world.facts.block_size
        self.world.rewind(request, data.draw(st.integers(committed, request.planned), label="to"))

    # --- steps ---

    def _batch(self, data: st.DataObject, *, everything: bool) -> dict[int, list[int]]:
        running = self.those("running")
        size = self.world.facts.block_size
        some = st.lists(st.sampled_from(running), min_size=1, unique_by=lambda request: request.key)
        fed = {}
        for request in running if everything else data.draw(some, label="batch"):
            most = (request.limit or self.world.facts.usable * size) - request.planned
            left = len(request.tokens) - request.planned
            count = left if everything else data.draw(st.integers(1, max(1, left + 3)), label="tokens")
            count = min(count if count > 0 else 1, most)
            if count > 0:
                known = request.tokens[request.planned : request.planned + count]
                fed[request.key] = known + [data.draw(TOKENS) for _ in range(count - len(known))]
        return fed

    @precondition(lambda self: len(self.world.steps) < 2 and self.those("running"))
    @rule(data=st.data())
    def plan(self, data: st.DataObject) -> None:
        if fed := self._batch(data, everything=False):
            self.world.expire_due(lambda: self.world.plan(fed))

    @precondition(lambda self: self.world.steps)
    @rule(data=st.data(), all_valid=st.booleans())
    def commit(self, data: st.DataObject, all_valid: bool) -> None:
        counts = [len(entry.fed) for entry in self.world.steps[0].entries]
        valid = None if all_valid else [data.draw(st.integers(0, count), label="valid") for count in counts]
        self._remember()
        self.world.commit(valid)

    @precondition(lambda self: not self.world.steps and self.those("running"))
    @rule(data=st.data())
    def compute_everything(self, data: st.DataObject) -> None:
        """The usual case: everybody's known tokens, then all of it committed."""
        if fed := self._batch(data, everything=True):
            self.world.expire_due(lambda: self.world.plan(fed))
        if self.world.steps:
            self.world.commit()
            self._remember()

    @precondition(lambda self: self.world.steps)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.world.fail(data.draw(st.sampled_from([step.number for step in self.world.steps])))

    def _remember(self) -> None:
        for request in self.world.facts.requests:
            if request.status == "running" and len(request.tokens) > request.num_fixed:
                self.texts.append((request.root, list(request.tokens)))

    # --- the end ---

    def teardown(self) -> None:
        if hasattr(self, "world") and sys.exc_info()[0] is None:
            self.world.leave_nothing()
