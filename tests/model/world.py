"""Requests on a pair of real managers, with a model beside them that predicts every answer.

Physical ids are read from the manager (which block is taken is its choice); everything else is computed from the facts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from tests.model.book import Book
from tests.model.contents import Content, Contents
from tests.model.facts import Demand, Expected, Facts, Outcome, Request
from tests.model.shadow import Shadow
from tests.model.twin import Twin
from tests.support.native import ints


@dataclass
class Entry:
    """One row of a step in flight."""

    request: Request
    first: int
    fed: list[int]  # ids of the planned tokens
    epoch: int
    table: list[int]
    slots: list[int]
    kept: int  # leading planned tokens that no rewind has dropped since


@dataclass
class Departure:
    """A row left a block that it shared, to write. The step keeps the shared block: if it fails, the row is back."""

    request: Request
    index: int
    shared: int
    own: int


@dataclass
class Step:
    number: int
    entries: list[Entry]
    copies: list[tuple[int, int]]
    departures: list[Departure]

    def named_blocks(self) -> set[int]:
        return {block for entry in self.entries for block in entry.table}


class World:
    def __init__(self, usable: int, block_size: int, *, null_block: bool = True, max_requests: int = 6) -> None:
        first = self.first_block = int(null_block)
        self.contents = Contents(block_size)
        self.facts = Facts(usable, block_size, self.contents)
        self.book = Book(self.facts, first)
        self.shadow = Shadow(usable + first, first, block_size)
        self.max_requests = max_requests
        self.core = Twin(
            usable_blocks=usable,
            block_size=block_size,
            null_block=null_block,
            max_requests=max_requests,
            max_blocks_per_request=usable,
            block_events=True,
            retain_events=True,
        )
        self.steps: list[Step] = []
        self.num_steps = 0
        self.num_allocations = 0
        self.now_ns = 0
        self.due: list[int] = []  # claims that the last call would have outlived; it did nothing else
        self._next_key = 1

    # --- requests ---

    def admit(
        self,
        tokens: Sequence[int],
        new: int = -1,
        root: int = 0,
        extras: tuple[bytes | None, ...] = (),
        *,
        reuse: bool = True,
    ) -> Request | None:
        size = self.facts.block_size
        peak = -(-(len(tokens) + max(new, 0)) // size)
        request = Request(
            key=self._next_key,
            row=-1,
            root=root,
            tokens=list(tokens),
            num_fixed=len(tokens),
            limit=len(tokens) + new if new >= 0 else None,
            peak=peak,
            extras=extras,
            reuse=reuse,
        )
        self._next_key += 1
        expected = self._or_due(self.facts.decide(self.facts.demand(request)))
        answer = self.core.admit(request.key, root, ints(*tokens), new, list(extras), reuse, self.now_ns)
        self._same(answer, expected)
        if expected.outcome is Outcome.ADMITTED:
            request.row = answer.row
            self.facts.requests.append(request)
            self._occupy(request, expected)
        self.settle()
        return request if expected.outcome is Outcome.ADMITTED else None

    def resume(self, request: Request) -> Outcome:
        expected = self.facts.decide(self.facts.demand(request))
        fits = expected.new_blocks <= expected.available_blocks
        expected = Expected(**{**asdict(expected), "outcome": Outcome.ADMITTED if fits else Outcome.DEFERRED})
        expected = self._or_due(expected)
        self._same(self.core.resume(request.row, self.now_ns), expected)
        if expected.outcome is Outcome.ADMITTED:
            num_full = len(request.tokens) - len(request.tokens) % self.facts.block_size
            request.num_fixed = max(request.num_fixed, num_full)
            self._occupy(request, expected)
        self.settle()
        return expected.outcome

    def _occupy(self, request: Request, expected: Expected) -> None:
        facts, size = self.facts, self.facts.block_size
        nodes, cached = facts.nodes(request), expected.num_cached_tokens
        reused = nodes[: cached // size]
        blocks: list[int] = self.core.request_blocks(request.row).tolist()
        assert blocks[: len(reused)] == [facts.indexed[node] for node in reused]
        request.fills = {i: nodes[i] for i in range(len(reused), len(nodes)) if nodes[i] in facts.reserved}
        request.blocks = blocks[: len(reused)]
        request.published = list(reused)
        content = self.contents.chain(request.root, request.tokens, request.extras)
        assert self.shadow.read(blocks, cached) == content[:cached], "a hit on KV of other tokens"
        assert len(blocks) == len(reused) + expected.new_blocks
        self.take(blocks[len(reused) :], request)
        request.blocks = blocks
        request.written = request.planned = cached
        request.stream = request.tokens[:cached]
        request.stopped = False
        request.status = "running"
        self._take_admission(request, expected)

    def take(self, blocks: list[int], request: Request) -> None:
        named_in_flight = {block for step in self.steps for block in step.named_blocks()}
        self.book.take(blocks, request.key, named_in_flight)
        self.num_allocations += len(blocks)

    def fork(self, parent: Request) -> Request | None:
        facts, size = self.facts, self.facts.block_size
        child = Request(**{**parent.__dict__, "key": self._next_key, "row": -1, "fills": {}})
        self._next_key += 1
        partial = parent.written % size != 0
        looked = facts.decide(Demand(tuple(facts.nodes(parent)), len(parent.tokens), parent.peak, child.key))
        numbers = {**asdict(looked), "num_cached_tokens": parent.written, "num_filled_blocks": 0}
        numbers |= {"new_blocks": int(partial), "available_blocks": facts.room}
        if looked.outcome in (Outcome.ADMITTED, Outcome.DEFERRED):
            numbers["outcome"] = Outcome.DEFERRED if int(partial) > facts.room else Outcome.ADMITTED
        expected = self._or_due(Expected(**numbers), num_taken=0)
        answer = self.core.fork(parent.row, child.key, self.now_ns)
        self._same(answer, expected)
        if expected.outcome is Outcome.ADMITTED:
            num_blocks = -(-parent.written // size)
            child.row, child.tokens, child.stream = answer.row, list(parent.tokens), list(parent.stream)
            child.blocks, child.published = parent.blocks[:num_blocks], list(parent.published)
            child.num_in_flight, child.epoch = 0, 0
            facts.requests.append(child)
            self._take_admission(child, expected)
        self.settle()
        return child if expected.outcome is Outcome.ADMITTED else None

    def finish(self, request: Request) -> None:
        self._leave(request, "finish", "retiring")

    def preempt(self, request: Request) -> None:
        self._leave(request, "preempt", "preempting")

    def _leave(self, request: Request, verb: str, status: str) -> None:
        getattr(self.core, verb)(request.row)
        request.epoch += 1
        request.status = status
        self.retire(request)
        self.settle()

    def retire(self, request: Request) -> None:
        """Give everything back, unless a step in flight still names it."""
        if request.num_in_flight or request.status == "running":
            return
        request.blocks, request.published, request.fills, request.stream = [], [], {}, []
        request.written = request.planned = 0
        if request.status == "retiring":
            self.facts.requests.remove(request)
        else:
            request.status = "preempted"

    # --- watching ---

    def settle(self) -> None:
        """The call is over: its events are the expected ones, and the manager is in the state of the facts."""
        self.book.journal.close()
        self._check_counts()
        for request in self.facts.admitted():
            seen = self.core.request_facts(request.row)
            assert (seen.request, seen.status) == (request.key, request.status)
            assert seen.num_known_tokens == len(request.tokens)
            assert seen.num_committed_tokens == len(request.published) * self.facts.block_size
            assert (seen.num_written_tokens, seen.num_planned_tokens) == (request.written, request.planned)
            assert seen.peak_blocks == request.peak
            assert self.core.request_tokens(request.row).tolist() == request.tokens
            assert self.core.request_blocks(request.row).tolist() == request.blocks

    def _check_counts(self) -> None:
        facts, seen = self.facts, self.core.counts()
        protected, active = facts.protected, facts.active
        resident = {facts.indexed[node] for node in protected if node in facts.indexed}
        expected = {
            "usable": facts.usable,
            "free": facts.free,
            "cached": len(facts.cached),
            "active": len(active),
            "resident_idle": len(resident - active),
            "resident_active": len(resident & active),
            "reserved": len(facts.reserved),
            "filling": len(facts.filled),
            "protected": len(protected),
            "num_claims": len(facts.claims),
            "num_requests": len(facts.requests),
            "num_preempted": sum(request.status == "preempted" for request in facts.requests),
            "num_steps_planned": self.num_steps,
            "num_steps_in_flight": len(self.steps),
        }
        assert {name: getattr(seen, name) for name in expected} == expected
        states = np.bincount(self.core.block_states(), minlength=6).tolist()
        held = len(active) - len(resident & active)
        assert states[:5] == [facts.free, len(facts.cached), held, len(resident - active), len(resident & active)]

    def _take_admission(self, request: Request, expected: Expected) -> None:
        self.book.journal.take(
            "active_request_admitted",
            request=request.key,
            required=expected.peak_blocks,
            materialized=expected.num_cached_tokens // self.facts.block_size,
            leading=expected.new_blocks,
        )
        reuse = "future_reuse_admitted" if request.reuse else "future_reuse_denied"
        self.book.journal.take(reuse, request=request.key)

    def _same(self, answer: object, expected: Expected) -> None:
        self.book.journal.add(self.core.drain())
        if expected.outcome is Outcome.DEADLINE_DUE:
            assert answer.outcome == Outcome.DEADLINE_DUE  # type: ignore[attr-defined]
            return
        assert not expected.differences(answer)

    def _or_due(self, expected: Expected, num_taken: int | None = None) -> Expected:
        """`expected`, unless a claim's deadline comes first."""
        return expected

    def crossed(self, num_allocations: int) -> list[int]:
        """Claims whose deadline lies before this moment."""
        return []

    def content(self, request: Request, tokens: Sequence[int]) -> list[Content]:
        return self.contents.chain(request.root, tokens, request.extras)
