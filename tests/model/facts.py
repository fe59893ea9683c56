"""The state of a manager as plain facts, and contract.md's sets computed from them: no count is ever kept."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum

from tests.model.contents import Content, Contents

Logical = Content | tuple[str, int] | tuple[str, int, int]


class Mode(IntEnum):
    PROTECTING = 0
    SOFT = 1
    BEST_EFFORT = 2


class Outcome(IntEnum):
    ADMITTED = 0
    DEFERRED = 1
    REFUSED = 2
    CAPACITY_REQUIRED = 3
    DEADLINE_DUE = 4


@dataclass
class Request:
    """A request.

    `tokens` are the known ones, of which no rewind forgets the first `num_fixed`; `stream` is what the model was or
    will be fed, steps in flight included.
    """

    key: int
    row: int
    root: int
    tokens: list[int]
    num_fixed: int
    limit: int | None
    peak: int
    extras: tuple[bytes | None, ...]
    reuse: bool
    status: str = "running"
    written: int = 0
    planned: int = 0
    stream: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    published: list[Content] = field(default_factory=list)
    fills: dict[int, Content] = field(default_factory=dict)  # by position
    stopped: bool = False  # publishes no more: the next block may not enter the index
    epoch: int = 0
    num_in_flight: int = 0

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:  # what Hypothesis prints
        printer.text(f"request {self.key}")  # type: ignore[attr-defined]

    @property
    def is_admitted(self) -> bool:
        return self.status in ("running", "preempting", "preempted")


@dataclass
class Claim:
    claim: int
    mode: Mode
    nodes: list[Content]
    start: int
    end: int
    predicate_true: bool = False

    @property
    def anchor(self) -> Content:
        """The node that makes the predicate true, and whose loss makes it false."""
        return self.nodes[self.end - 1]


@dataclass(frozen=True)
class Demand:
    nodes: tuple[Content, ...]  # of the full blocks of its known tokens
    num_tokens: int
    peak: int
    key: int


@dataclass(frozen=True)
class Expected:
    """What section 5 answers; the names are those of `_core.Decision`."""

    outcome: Outcome
    num_cached_tokens: int
    peak_blocks: int
    new_blocks: int
    available_blocks: int
    protected_blocks: int
    protected_union_peak_blocks: int
    resident_plus_active_blocks: int
    num_filled_blocks: int

    def differences(self, answer: object) -> dict[str, tuple[object, object]]:
        """Fields in which the real answer is another: (real, expected)."""
        both = {name: (getattr(answer, name), value) for name, value in asdict(self).items()}
        return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


@dataclass
class Facts:
    usable: int
    block_size: int
    contents: Contents
    requests: list[Request] = field(default_factory=list)  # by admission; retiring ones too
    claims: dict[int, Claim] = field(default_factory=dict)  # by acceptance
    indexed: dict[Content, int] = field(default_factory=dict)  # canonical block of every computed node
    waiting: list[tuple[int, int]] = field(default_factory=list)  # (step, block that is released when it retires)

    # --- sets ---

    def named(self, *modes: Mode) -> set[Content]:
        return {node for claim in self.claims.values() if claim.mode in modes for node in claim.nodes}

    @property
    def protected(self) -> set[Content]:
        return self.named(Mode.PROTECTING)

    @property
    def filled(self) -> set[Content]:
        return {node for request in self.requests for node in request.fills.values()}

    @property
    def reserved(self) -> set[Content]:
        return self.protected - self.indexed.keys() - self.filled

    @property
    def active(self) -> set[int]:
        held = {block for request in self.requests for block in request.blocks}
        return held | {block for _, block in self.waiting}

    @property
    def idle(self) -> set[Content]:
        active = self.active
        return {node for node, block in self.indexed.items() if block not in active}

    @property
    def cached(self) -> set[Content]:
        return self.idle - self.protected

    @property
    def free(self) -> int:
        return self.usable - len(self.active | set(self.indexed.values()))

    @property
    def room(self) -> int:
        """Blocks that can be taken now."""
        return self.free + len(self.cached) - len(self.reserved)

    @property
    def held(self) -> set[Logical]:
        held: set[Logical] = {("block", block) for _, block in self.waiting}
        for request in self.requests:
            for position, block in enumerate(request.blocks):
                if position < len(request.published):
                    held.add(request.published[position])
                else:
                    held.add(request.fills.get(position, ("block", block)))
        return held

    def num_holders(self, block: int) -> int:
        waiting = sum(waiting == block for _, waiting in self.waiting)
        return waiting + sum(request.blocks.count(block) for request in self.requests)

    # --- requests ---

    def admitted(self) -> Iterator[Request]:
        return (request for request in self.requests if request.is_admitted)

    def nodes(self, request: Request) -> list[Content]:
        return self.contents.nodes(request.root, request.tokens, request.extras)

    def demand(self, request: Request) -> Demand:
        return Demand(tuple(self.nodes(request)), len(request.tokens), request.peak, request.key)

    def peak_set(self, demand: Demand) -> set[Logical]:
        """A(r)."""
        own = {("new", demand.key, position) for position in range(len(demand.nodes), demand.peak)}
        return {*demand.nodes, *own}

    def reused(self, demand: Demand) -> list[Content]:
        found = []
        for node in demand.nodes[: (demand.num_tokens - 1) // self.block_size]:
            if node not in self.indexed:
                break
            found.append(node)
        return found

    # --- decisions ---

    def decide(self, demand: Demand) -> Expected:
        reused = self.reused(demand)
        peak, protected = self.peak_set(demand), self.protected
        filled_by = self.reserved & set(demand.nodes)
        new_blocks = -(-demand.num_tokens // self.block_size) - len(reused)
        available = self.room - len(self.cached.intersection(reused)) + len(filled_by)
        if len(peak) > self.usable:
            outcome = Outcome.CAPACITY_REQUIRED
        elif len(protected | peak) > self.usable:
            outcome = Outcome.REFUSED
        else:
            outcome = Outcome.DEFERRED if new_blocks > available else Outcome.ADMITTED
        return Expected(
            outcome=outcome,
            num_cached_tokens=len(reused) * self.block_size,
            peak_blocks=len(peak),
            new_blocks=new_blocks,
            available_blocks=available,
            protected_blocks=len(protected),
            protected_union_peak_blocks=len(protected | peak),
            resident_plus_active_blocks=len(protected | self.held | peak),
            num_filled_blocks=len(filled_by),
        )

    def blocking(self, demand: Demand, outcome: Outcome) -> list[tuple[int, int]]:
        """(claim, its blocks in the way), most first, then by acceptance."""
        if outcome is Outcome.REFUSED:
            in_the_way = self.protected - self.peak_set(demand)
        elif outcome is Outcome.DEFERRED:
            usable_by_it = self.reused(demand) + list(self.reserved & set(demand.nodes))
            in_the_way = self.protected - self.held - set(usable_by_it)
        else:
            return []
        counts = [
            (claim.claim, len(in_the_way.intersection(claim.nodes)))
            for claim in self.claims.values()
            if claim.mode is Mode.PROTECTING
        ]
        return sorted((entry for entry in counts if entry[1]), key=lambda entry: -entry[1])

    def without(self, ended: Iterable[int]) -> "Facts":
        """The facts had these claims ended: what was being filled for them becomes the filler's own."""
        gone = set(ended)
        claims = {claim: facts for claim, facts in self.claims.items() if claim not in gone}
        return Facts(self.usable, self.block_size, self.contents, self.requests, claims, self.indexed, self.waiting)

    def bind_fillers(self, nodes: Sequence[Content]) -> dict[Content, Request]:
        """Who fills the planned ones of `nodes` from now on: the first admitted running request that computes them."""
        wanted = set(nodes) - self.indexed.keys() - self.filled - self.protected
        binding: dict[Content, Request] = {}
        for request in self.requests:
            if request.status != "running" or request.stopped:
                continue
            known = self.nodes(request)
            for position in range(len(request.published), min(len(known), len(request.blocks))):
                if known[position] in wanted:
                    binding.setdefault(known[position], request)
        return binding
