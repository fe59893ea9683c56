"""What happens to blocks and claims, replayed on the facts: taking, evicting, publishing, harming, ending.

The native core chooses victims; the model says which choices are allowed and what must follow from each.
"""

from collections.abc import Iterable

from tests.model.contents import Content
from tests.model.facts import Claim, Facts, Mode, Request
from tests.model.journal import Journal

VICTIM = "allocation_victim_selected"
LOST = "resident_claim_block_lost_after_release"
BLOCK_MATERIALIZED = "resident_block_materialized"
MATERIALIZED = "resident_claim_materialized"
HARMED = "resident_claim_harmed"


class Book:
    def __init__(self, facts: Facts, first_block: int) -> None:
        self.facts = facts
        self.journal = Journal()
        self.notices: list[tuple[int, str]] = []  # transitions that no caller asked for
        self._all_blocks = set(range(first_block, first_block + facts.usable))
        self._parents: dict[Content, Content | None] = {}
        self._ended: dict[Content, int] = {}  # whom a later loss of the node is reported to

    # --- blocks ---

    def free_blocks(self) -> set[int]:
        return self._all_blocks - self.facts.active - set(self.facts.indexed.values())

    def take(self, blocks: list[int], request: int, named_in_flight: set[int]) -> None:
        """`blocks` were taken for `request`, in this order: free ones while there are any, then victims."""
        assert len(set(blocks)) == len(blocks)
        assert not named_in_flight.intersection(blocks), "a step in flight still names a block that was handed out"
        taken: set[int] = set()
        for block in blocks:
            if self.free_blocks() <= taken:
                self._evict(block, request)
            taken.add(block)
            assert taken <= self.free_blocks(), "handed out a block that holds something"

    def _evict(self, block: int, request: int) -> None:
        facts = self.facts
        event = self.journal.take(VICTIM, block=block, request=request, is_protected=False)
        [node] = [node for node, holder in facts.indexed.items() if holder == block]
        assert node in facts.cached, "evicted a block that is held or protected"
        children = [child for child in facts.indexed if self._parents[child] == node]
        assert not children, "a parent was evicted before its child"
        soft, best_effort = facts.named(Mode.SOFT), facts.named(Mode.BEST_EFFORT)
        reason = 2 if node in soft else 1 if node in best_effort else 0
        assert event.cause == reason
        assert reason != 2 or facts.cached <= soft, "evicted soft content while there was weaker content"
        self._check_claim_named(event.claim, node)
        assert event.position == self._position(node)
        del facts.indexed[node]
        self._after_loss(node, block, request)

    def _after_loss(self, node: Content, block: int, request: int) -> None:
        named = [claim for claim in self.facts.claims.values() if node in claim.nodes]
        for claim in [claim for claim in named if claim.anchor == node and claim.predicate_true]:
            survivors = self._surviving(claim)
            self.harm(claim, survivors, request=request, cause=0)
        if not named and node in self._ended:
            self.journal.take(LOST, claim=self._ended.pop(node), block=block, request=request)

    def publish(self, node: Content, parent: Content | None, block: int, request: Request) -> None:
        """`block` of `request` is now the canonical one of `node`, which had none."""
        self.facts.indexed[node] = block
        self._parents[node] = parent
        for other in self.facts.requests:
            other.fills = {position: fill for position, fill in other.fills.items() if fill != node}
        claims = [claim for claim in self.facts.claims.values() if node in claim.nodes]
        if not claims:
            return
        event = self.journal.take(BLOCK_MATERIALIZED, block=block, request=request.key, position=self._position(node))
        self._check_claim_named(event.claim, node)
        for claim in claims:
            if claim.anchor == node and not claim.predicate_true:
                claim.predicate_true = True
                self._take_claim_event(MATERIALIZED, claim, self._surviving(claim), request=request.key)
                self.notices.append((claim.claim, MATERIALIZED))

    # --- claims ---

    def accept(self, claim: Claim) -> None:
        facts = self.facts
        if claim.mode is Mode.PROTECTING:
            for node, request in facts.bind_fillers(claim.nodes).items():
                request.fills[facts.nodes(request).index(node)] = node
        facts.claims[claim.claim] = claim
        self._take_claim_event("resident_claim_accepted", claim, self._surviving(claim))
        for position, node in enumerate(claim.nodes):
            self._ended.pop(node, None)
            self._parents.setdefault(node, claim.nodes[position - 1] if position else None)
            if node in facts.indexed:
                self.journal.take(
                    BLOCK_MATERIALIZED, claim=claim.claim, block=facts.indexed[node], position=position, request=None
                )
        if claim.anchor in facts.indexed:
            claim.predicate_true = True
            self._take_claim_event(MATERIALIZED, claim, self._surviving(claim))

    def end(self, claim: Claim, event: str) -> None:
        self._take_claim_event(event, claim, self._surviving(claim), predicate=(claim.predicate_true,) * 2)
        self._remove(claim, remember=True)

    def harm(self, claim: Claim, survivors: set[int], request: int | None, cause: int) -> None:
        assert claim.predicate_true, "harm without a true predicate"
        claim.predicate_true = False
        self._take_claim_event(HARMED, claim, survivors, request=request, cause=cause, predicate=(True, False))
        self.notices.append((claim.claim, HARMED))
        self._remove(claim, remember=False)

    def _remove(self, claim: Claim, *, remember: bool) -> None:
        facts = self.facts
        del facts.claims[claim.claim]
        protected, named = facts.protected, facts.named(*Mode)
        for request in facts.requests:
            request.fills = {position: node for position, node in request.fills.items() if node in protected}
        for node in claim.nodes:
            if node in named or node not in facts.indexed:
                continue
            if remember:
                self._ended[node] = claim.claim
            else:
                self._ended.pop(node, None)

    # --- faults ---

    def descendants(self, bad: Iterable[Content]) -> set[Content]:
        """`bad` and every node below, computed or claimed."""
        known = self.facts.indexed.keys() | self.facts.named(*Mode)
        lost = set(bad)
        while below := {node for node in known - lost if self._parents[node] in lost}:
            lost |= below
        return lost

    def invalidate(self, bad: set[Content], lost: set[Content], cause: int) -> None:
        for claim in list(self.facts.claims.values()):
            if claim.predicate_true and lost.intersection(claim.nodes[: claim.end]):
                survivors = {position for position in self._surviving(claim) if claim.nodes[position] not in bad}
                self.harm(claim, survivors, request=None, cause=cause)
        self._forget(lost)

    def drop_everything(self) -> None:
        self._forget(set(self.facts.indexed))

    def _forget(self, lost: set[Content]) -> None:
        """Content that nobody can find again; whoever was to be told of a lost block is told, tail first."""
        blocks = {self.facts.indexed[node]: node for node in lost if node in self._ended}
        positions = []
        while blocks:
            event = self.journal.take(LOST, request=None)
            node = blocks.pop(event.block)
            assert (event.claim, event.position) == (self._ended.pop(node), self._position(node))
            positions.append(event.position)
        assert positions == sorted(positions, reverse=True)
        for node in lost & self.facts.indexed.keys():
            del self.facts.indexed[node]

    # --- details ---

    def _position(self, node: Content) -> int:
        position = 0
        while (parent := self._parents.get(node)) is not None:
            node, position = parent, position + 1
        return position

    def _surviving(self, claim: Claim) -> set[int]:
        return {position for position, node in enumerate(claim.nodes) if node in self.facts.indexed}

    def _check_claim_named(self, claim: int | None, node: Content) -> None:
        naming = {entry.claim for entry in self.facts.claims.values() if node in entry.nodes}
        assert claim in naming if naming else claim is None

    def _take_claim_event(self, name: str, claim: Claim, survivors: set[int], **fields: object) -> None:
        leading = next((i for i in range(len(claim.nodes)) if i not in survivors), len(claim.nodes))
        self.journal.take(
            name,
            claim=claim.claim,
            required=len(claim.nodes),
            materialized=len(survivors),
            leading=leading,
            is_protected=claim.mode is Mode.PROTECTING,
            **fields,
        )
