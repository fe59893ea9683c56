"""What events say about a claim, by the number the native core knows it by."""

from typing import Any, NamedTuple

from residentkv.contract.claim import ClaimSpec
from residentkv.contract.identity import request_token_map_id, reusable_object_id
from residentkv.contract.predicate import Predicate


def fields_of_spec(spec: ClaimSpec) -> dict[str, Any]:
    """The fields of a claim's events that its submission fixes. O(len(tokens)), SHA-256."""
    identity = spec.cache_identity
    footprint = spec.num_footprint_blocks
    return {
        "claim_id": spec.claim_id,
        "prefix_id": reusable_object_id(identity, spec.tokens, spec.predicate.predicate_blocks, spec.extra_keys),
        "reusable_object_id": reusable_object_id(identity, spec.tokens, footprint, spec.extra_keys),
        "request_token_map_id": request_token_map_id(identity, spec.tokens),
        "cache_identity": identity.as_fields(),
        "predicate_id": f"{spec.claim_id}/{spec.predicate}",
        "materialization_predicate": str(spec.predicate),
        "protection_mode": spec.mode.value,
        "resident_blocks_required": footprint,
    }


class Survival(NamedTuple):
    """How much of a claim is computed, in blocks."""

    surviving: int
    leading: int
    predicate_true: bool


class NamedClaim:
    """One accepted life of a claim as its events tell it: fixed fields, and its survival at the last of them.

    Block events carry no counts. They follow from the order: chains are filled from the head, given up from the tail.
    """

    __slots__ = ("end", "fields", "has_ended", "num_reported_to", "start", "survival")

    def __init__(self, fields: dict[str, Any], predicate: Predicate) -> None:
        self.fields = fields
        self.start = predicate.start
        self.end = predicate.predicate_blocks
        self.survival = Survival(surviving=0, leading=0, predicate_true=False)
        self.has_ended = False  # an event said so
        self.num_reported_to = 0  # blocks whose loss would still be reported to it

    def gain(self, position: int) -> None:
        """A block was computed: everything before it already was, and nothing behind it can be."""
        self.survival = Survival(position + 1, position + 1, self.survival.predicate_true)

    def lose(self, position: int) -> None:
        """A block was lost after the claim ended."""
        surviving, leading, predicate_true = self.survival
        is_tested = self.start <= position < self.end
        self.survival = Survival(max(0, surviving - 1), min(leading, position), predicate_true and not is_tested)

    def as_fields(self) -> dict[str, Any]:
        """All claim fields as of the last event."""
        return {
            **self.fields,
            "resident_blocks_materialized": self.survival.surviving,
            "leading_blocks_survived": self.survival.leading,
            "predicate_materialized": self.survival.predicate_true,
        }


class ClaimNames:
    """Named claims by native number: live ones, and ended ones that the loss of a block may still be reported to.

    A loss is reported to the claim that named the block last, so at most one ended claim per block is kept.
    """

    __slots__ = ("_by_number", "_reported_to")

    def __init__(self) -> None:
        self._by_number: dict[int, NamedClaim] = {}
        self._reported_to: dict[int, int] = {}  # block id -> number of the ended claim that named it last

    def get(self, number: int) -> NamedClaim | None:
        """The claim that is known by `number`, if any."""
        return self._by_number.get(number)

    def __len__(self) -> int:
        return len(self._by_number)

    def add(self, number: int, claim: NamedClaim) -> None:
        """Name an accepted claim."""
        self._by_number[number] = claim

    def expect_losses(self, number: int, blocks: list[int]) -> None:
        """A claim is about to end: later losses of `blocks` are reported to it. REQUIRES: all events were read."""
        claim = self._by_number[number]
        for block in blocks:
            self._forget_block(block)
            self._reported_to[block] = number
        claim.num_reported_to = len(blocks)

    def ended(self, number: int) -> None:
        """An event said that the claim ended."""
        self._by_number[number].has_ended = True
        self._drop_if_done(number)

    def lost(self, block: int, number: int) -> None:
        """An event reported the loss of `block` to the ended claim."""
        if self._reported_to.get(block) == number:
            self._forget_block(block)

    def _forget_block(self, block: int) -> None:
        number = self._reported_to.pop(block, None)
        if number is not None:
            self._by_number[number].num_reported_to -= 1
            self._drop_if_done(number)

    def _drop_if_done(self, number: int) -> None:
        claim = self._by_number[number]
        if claim.has_ended and claim.num_reported_to == 0:
            del self._by_number[number]
