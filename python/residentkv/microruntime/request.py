"""An admitted request, and what it asks for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from residentkv.contract.errors import ContractError
from residentkv.contract.identity import CacheIdentity, ExtraKeys
from residentkv.microruntime.demand import DemandPlan
from residentkv.microruntime.node import Node


class Status(Enum):
    """What an admitted request does."""

    RUNNING = "running"
    PREEMPTED = "preempted"  # holds nothing, computes again when it resumes
    SWAPPED = "swapped"  # its blocks are on the host


@dataclass(eq=False, slots=True)
class Request:
    """A request.

    Attributes
    ----------
    row : the number it runs under.
    tokens : known ones: the prompt, then what was generated.
    nodes : of their full blocks.
    limit : most tokens it declared; None if it declared no limit.
    peak_blocks : |A(r)|, as declared or as planned so far.
    plan : of a request whose KV has no tokens of its own; then `tokens` stay empty.
    num_computed : tokens whose KV is written.
    blocks : held, by position; of a plan with a window, the live ones.
    published : nodes of its leading blocks whose content can be found.
    fills : nodes it computes for claims, on their reservation.
    has_stopped : it met a block that may not be found later, and publishes no more.
    chunk : chunks of its plan that were begun.
    """

    request_id: str
    row: int
    identity: CacheIdentity
    tokens: tuple[int, ...] = ()
    nodes: tuple[Node, ...] = ()
    limit: int | None = None
    peak_blocks: int = 0
    extra_keys: ExtraKeys = ()
    wants_reuse: bool = True
    plan: DemandPlan | None = None
    status: Status = Status.RUNNING
    num_computed: int = 0
    blocks: list[int] = field(default_factory=list)
    published: list[Node] = field(default_factory=list)
    fills: dict[Node, None] = field(default_factory=dict)
    has_stopped: bool = False
    chunk: int = 0

    def blocks_for(self, num_tokens: int) -> int:
        """Return how many blocks hold `num_tokens`."""
        return -(-num_tokens // self.identity.block_size)

    def checked_feed(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Tokens after feeding `tokens` at the next position: known ones must be repeated.

        Raises
        ------
        ContractError : not running, planned by chunks, none, other tokens than the known ones, or more than declared.
        """
        end = self.num_computed + len(tokens)
        if self.status is not Status.RUNNING or self.plan is not None:
            raise ContractError(f"request {self.request_id!r} does not run by tokens now")
        if not tokens:
            raise ContractError(f"request {self.request_id!r} is fed no tokens")
        known = self.tokens[self.num_computed : end]
        if tuple(tokens[: len(known)]) != known:
            raise ContractError(f"request {self.request_id!r} is fed other tokens than it is known to have")
        if self.limit is not None and end > self.limit:
            raise ContractError(f"request {self.request_id!r} would reach {end} tokens, it declared {self.limit}")
        return self.tokens + tuple(tokens[len(known) :])


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks for at one moment.

    Parameters
    ----------
    nodes : of the full blocks of its known tokens.
    num_reusable : leading nodes it may take from the pool if they are there.
    num_blocks : it will hold right after this is granted.
    num_held : of them it holds already, and so looks nothing up: it grows.
    peak_blocks : |A(r)|.
    """

    request_id: str
    nodes: tuple[Node, ...]
    num_reusable: int
    num_blocks: int
    peak_blocks: int
    num_held: int | None = None
