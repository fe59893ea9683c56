"""The end of things: reset, and a proof that nothing is left behind."""

from residentkv import _core
from tests.model.facts import Outcome, Request
from tests.model.world_claims import ClaimWorld
from tests.support.native import ints


class FaultWorld(ClaimWorld):
    def invalidate(self, blocks: list[int], cause: int = 7) -> None:
        """Bad blocks: their content and all computed from it is gone, and whoever used it computes it again."""
        facts = self.facts
        bad = {node for node, block in facts.indexed.items() if block in blocks}
        lost = self.book.descendants(bad)
        rows = self.core.invalidate(ints(*blocks), cause, self.now_ns).tolist()
        self.book.journal.add(self.core.drain())
        preempted = [
            request
            for request in facts.requests
            if request.status == "running"
            and (lost.intersection(request.published, request.fills.values()) or set(blocks) & set(request.blocks))
        ]
        assert rows == sorted(request.row for request in preempted)
        for request in preempted:
            self._stop(request)
        self.book.invalidate(bad, lost, cause)
        self.settle()

    def reset(self) -> None:
        for claim in list(self.facts.claims.values()):
            self.end(claim, "demoted")
        rows = self.core.reset(self.now_ns).tolist()
        self.book.journal.add(self.core.drain())
        preempted = [request for request in self.facts.requests if request.status == "running"]
        assert rows == sorted(request.row for request in preempted)
        for request in preempted:
            self._stop(request)
        self.book.drop_everything()
        self.settle()

    def _stop(self, request: Request) -> None:
        request.status = "preempting"
        request.epoch += 1
        self.retire(request)

    def leave_nothing(self) -> None:
        """Everybody can finish, one at a time; then every block is free and every node forgotten."""
        while self.steps:
            self.commit([0] * len(self.steps[0].entries))
        for request in list(self.facts.requests):
            if request.status == "running":
                self.preempt(request)
        for request in list(self.facts.requests):
            self._run_alone(request)
            self.finish(request)
        self.reset()
        assert self.facts.free == self.facts.usable
        assert self.core.counts().num_nodes == 0

    def _run_alone(self, request: Request) -> None:
        """Acceptance counted every admitted request's peak: the claims leave room for one request to run to its end."""
        facts = self.facts
        demand = facts.demand(request)
        slack = facts.usable - len(facts.protected | facts.peak_set(demand))
        duplicates = self._is_last_block_duplicated(request)
        outcome = self.expire_due(lambda: self.resume(request))
        if slack < duplicates:
            return
        assert outcome is Outcome.ADMITTED, "an admitted request can not run even alone"
        target = len(request.tokens) if request.limit is None else request.limit
        known = request.tokens[request.planned :]
        if known:
            self._run(request, known)
        for _ in range(target - len(request.tokens)):
            self._run(request, [1])

    def _is_last_block_duplicated(self, request: Request) -> bool:
        """The last token is always computed: its block, if full and computed already, is needed twice for a while."""
        nodes = self.facts.nodes(request)
        return len(request.tokens) % self.facts.block_size == 0 and nodes[-1] in self.facts.indexed

    def _run(self, request: Request, ids: list[int]) -> None:
        step = self.expire_due(lambda: self.plan({request.key: ids}))
        assert not isinstance(step, _core.StepShortage), "no room for a request that is alone"
        self.commit()
