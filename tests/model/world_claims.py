"""Claims on a StepWorld: acceptance, ends, deadlines, conflicts and faults."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from residentkv import _core
from tests.model.contents import Content
from tests.model.facts import Claim, Demand, Expected, Facts, Mode, Outcome, Request
from tests.model.world_steps import StepWorld
from tests.support.native import ints

Answer = TypeVar("Answer")
NEVER = -1


@dataclass(frozen=True)
class Deadline:
    """Last point at which the claim is still protected, by clock; NEVER where there is none."""

    step: int = NEVER
    allocations: int = NEVER
    now_ns: int = NEVER


class ClaimWorld(StepWorld):
    def __init__(self, usable: int, block_size: int, *, null_block: bool = True, max_requests: int = 6) -> None:
        super().__init__(usable, block_size, null_block=null_block, max_requests=max_requests)
        self.deadlines: dict[int, Deadline] = {}
        self.next_claim = 0

    # --- acceptance ---

    def accept(
        self,
        tokens: Sequence[int],
        predicate: tuple[int, int],
        mode: Mode = Mode.PROTECTING,
        root: int = 0,
        extras: tuple[bytes | None, ...] = (),
        budget: int = 2**31,
        deadline: Deadline = Deadline(),
    ) -> Claim | None:
        """Claim all full blocks of `tokens`; the predicate needs positions [predicate[0], predicate[1])."""
        nodes = self.contents.nodes(root, tokens, extras)
        sizes = self._sizes_with(nodes if mode is Mode.PROTECTING else [])
        answer = self.core.accept_claim(
            root=root,
            tokens=ints(*tokens),
            extra_keys=list(extras),
            footprint_blocks=len(nodes),
            predicate_start=predicate[0],
            predicate_blocks=predicate[1] - predicate[0],
            mode=int(mode),
            max_protected_blocks=budget,
            deadline_step=deadline.step,
            deadline_allocations=deadline.allocations,
            deadline_ns=deadline.now_ns,
            now_ns=self.now_ns,
        )
        self.book.journal.add(self.core.drain())
        seen = (answer.protected_blocks, answer.protected_union_held_blocks, answer.largest_union_blocks)
        assert seen[:2] == sizes[:2]
        assert seen[2] == sizes[2] or mode is not Mode.PROTECTING  # others ask for no room, so nobody's peak matters
        outcome = _core.CLAIM_ACCEPTED
        if mode is Mode.PROTECTING and max(sizes[1:]) > self.facts.usable:
            outcome = _core.CLAIM_NO_CAPACITY
        if mode is Mode.PROTECTING and sizes[0] > budget:
            outcome = _core.CLAIM_OVER_BUDGET
        assert answer.outcome == outcome
        claim = None
        if outcome == _core.CLAIM_ACCEPTED:
            assert answer.claim == self.next_claim
            self.next_claim += 1
            claim = Claim(answer.claim, mode, list(nodes), *predicate)
            self.deadlines[claim.claim] = deadline
            self.book.accept(claim)
            assert answer.materialized == claim.predicate_true
        self.settle()
        return claim

    def _sizes_with(self, nodes: Sequence[Content]) -> tuple[int, int, int]:
        """|P u c|, |P u c u held|, max |P u c u A(r)|."""
        facts = self.facts
        protected = facts.protected.union(nodes)
        held = facts.held
        for node, request in facts.bind_fillers(nodes).items():
            held.remove(("block", request.blocks[facts.nodes(request).index(node)]))
        peaks = [len(protected | facts.peak_set(facts.demand(request))) for request in facts.admitted()]
        return len(protected), len(protected | held), max([len(protected), *peaks])

    def end(self, claim: Claim, how: str) -> None:
        kind = f"resident_claim_{how}"
        sequence = self.core.end_claim(claim.claim, kind, self.now_ns)
        events = self.core.drain()
        assert events[0].sequence == sequence
        self.book.journal.add(events)
        self.book.end(claim, kind)
        self.settle()

    # --- deadlines ---

    def set_deadline(self, claim: Claim, deadline: Deadline) -> None:
        self.core.set_deadline(claim.claim, deadline.step, deadline.allocations, deadline.now_ns)
        self.deadlines[claim.claim] = deadline
        self.settle()

    def crossed(self, num_allocations: int) -> list[int]:
        """Claims whose deadline lies before the next step and that allocation: by clock, then earliest first."""
        live = [(claim, self.deadlines[claim]) for claim in self.facts.claims]
        by_clock = [
            sorted((d.step, c) for c, d in live if d.step != NEVER and self.num_steps + 1 > d.step),
            sorted((d.allocations, c) for c, d in live if d.allocations != NEVER and num_allocations > d.allocations),
            sorted((d.now_ns, c) for c, d in live if d.now_ns != NEVER and self.now_ns >= d.now_ns),
        ]
        return list(dict.fromkeys(claim for clock in by_clock for _, claim in clock))

    def _or_due(self, expected: Expected, num_taken: int | None = None) -> Expected:
        self.due = self.crossed(self.num_allocations)
        if not self.due and expected.outcome is Outcome.ADMITTED:
            num_taken = expected.new_blocks if num_taken is None else num_taken
            self.due = self.crossed(self.num_allocations + num_taken)
        return Expected(**{**asdict(expected), "outcome": Outcome.DEADLINE_DUE}) if self.due else expected

    def expire_due(self, call: Callable[[], Answer]) -> Answer:
        """Make the call; expire what it would cross and repeat it, as the claim manager does."""
        while True:
            answer = call()
            if not self.due:
                return answer
            due = self.core.due_claims().tolist()
            assert due == self.due
            for claim in due:
                self.end(self.facts.claims[claim], "expired")

    # --- conflicts ---

    def ask(
        self, tokens: Sequence[int], new: int, root: int, extras: tuple[bytes | None, ...], order: list[int]
    ) -> None:
        """What would be decided now, whom it would blame, and which of `order` would have to end."""
        peak = -(-(len(tokens) + max(new, 0)) // self.facts.block_size)
        demand = Demand(tuple(self.contents.nodes(root, tokens, extras)), len(tokens), peak, key=0)
        call = ("conflict", root, ints(*tokens), new, list(extras))
        self._check_conflict(call, lambda facts: facts.decide(demand), demand, order)

    def ask_resume(self, request: Request, order: list[int]) -> None:
        def decide(facts: Facts) -> Expected:
            decision = facts.decide(facts.demand(request))
            fits = decision.new_blocks <= decision.available_blocks
            return replace(decision, outcome=Outcome.ADMITTED if fits else Outcome.DEFERRED)

        self._check_conflict(("conflict_of_row", request.row, 0), decide, self.facts.demand(request), order)

    def ask_growth(self, request: Request, num_tokens: int, order: list[int]) -> None:
        """A running request holds its blocks already; only what it grows by is new, and nothing idle is its own."""
        size = self.facts.block_size
        most = -(-max(request.planned + num_tokens, len(request.tokens)) // size)
        end = -(-(request.planned + num_tokens) // size)
        demand = replace(self.facts.demand(request), peak=max(request.peak, most))

        def decide(facts: Facts) -> Expected:
            decision = facts.decide(demand)
            new, room = max(0, end - len(request.blocks)), facts.room
            numbers = {"new_blocks": new, "available_blocks": room, "num_filled_blocks": 0}
            if decision.outcome in (Outcome.ADMITTED, Outcome.DEFERRED):
                return replace(decision, **numbers, outcome=Outcome.DEFERRED if new > room else Outcome.ADMITTED)
            return replace(decision, **numbers)

        idle = demand if decide(self.facts).outcome is Outcome.REFUSED else replace(demand, nodes=())
        self._check_conflict(("conflict_of_row", request.row, num_tokens), decide, idle, order)

    def _check_conflict(
        self, call: tuple[Any, ...], decide: Callable[[Facts], Expected], demand: Demand, order: list[int]
    ) -> None:
        name, *arguments = call
        expected = decide(self.facts)
        conflict = getattr(self.core, name)(*arguments)
        assert not expected.differences(conflict.decision)
        blocking = list(zip(conflict.claims.tolist(), conflict.blocks.tolist(), strict=True))
        assert blocking == self.facts.blocking(demand, expected.outcome)
        chosen = self.core.sufficient(lambda manager: getattr(manager, name)(*arguments), order)
        assert chosen == self._sufficient(decide, order)
        self.settle()

    def _sufficient(self, decide: Callable[[Facts], Expected], order: list[int]) -> list[int]:
        """The rule of section 5, and a proof by trial that nothing in the answer is superfluous."""

        def fits(ended: list[int]) -> bool:
            return decide(self.facts.without(ended)).outcome is Outcome.ADMITTED

        chosen: list[int] = []
        for claim in order:
            if fits(chosen):
                break
            chosen.append(claim)
        if not fits(chosen):
            return []
        for claim in reversed(chosen.copy()):
            rest = [other for other in chosen if other != claim]
            if fits(rest):
                chosen = rest
        assert all(not fits([other for other in chosen if other != claim]) for claim in chosen)
        return chosen

    # --- watching ---

    def settle(self) -> None:
        super().settle()
        facts = self.facts
        for claim in facts.claims.values():
            seen = self.core.claim_facts(claim.claim)
            blocks = [facts.indexed.get(node, -1) for node in claim.nodes]
            assert self.core.claim_blocks(claim.claim).tolist() == blocks
            surviving = {i for i, block in enumerate(blocks) if block >= 0}
            assert claim.predicate_true == all(i in surviving for i in range(claim.start, claim.end))
            assert (seen.predicate_true, seen.surviving_blocks) == (claim.predicate_true, len(surviving))
        notices = [(notice.claim, notice.kind) for notice in self.core.take_claim_notices()]
        assert notices == self.book.notices
        self.book.notices.clear()
        for request in facts.admitted():
            union = facts.protected | facts.peak_set(facts.demand(request))
            assert len(union) <= facts.usable, "a claim took what an admitted request was promised"
        assert self.core.counts().num_allocations == self.num_allocations
