"""What events say about a claim, by the number the native core knows it by."""

from typing import Any

from residentkv.contract.claim import ClaimSpec
from residentkv.contract.identity import request_token_map_id, reusable_object_id
from residentkv.contract.predicate import Predicate


def fields_of_spec(spec: ClaimSpec) -> dict[str, Any]:
    """The fields of a claim's events that its submission fixes. O(len(tokens)), SHA-256."""
    identity = spec.cache_identity
    footprint = spec.num_footprint_blocks
    object_id = reusable_object_id(identity, spec.tokens, footprint, spec.extra_keys)
    prefix_id = object_id[:16]
    return {
        "claim_id": spec.claim_id,
        "prefix_id": prefix_id,
        "reusable_object_id": object_id,
        "request_token_map_id": request_token_map_id(identity, spec.tokens),
        "cache_identity": identity.as_fields(),
        "predicate_id": f"{prefix_id}:{spec.predicate}",
        "materialization_predicate": str(spec.predicate),
        "protection_mode": spec.mode.value,
        "resident_blocks_required": footprint,
    }


class NamedClaim:
    """One accepted life of a claim as its events tell it: fixed fields, and how many blocks had survived at the last of them.

    Block events carry no counts, so these follow from their order: chains are filled from the head and given up from the tail.
    """

    __slots__ = ("end", "fields", "has_ended", "leading", "num_reported_to", "predicate_true", "start", "surviving")

    def __init__(self, fields: dict[str, Any], predicate: Predicate) -> None:
        self.fields = fields
        self.start = predicate.start
        self.end = predicate.predicate_blocks
        self.surviving = 0
        self.leading = 0
        self.predicate_true = False
        self.has_ended = False  # an event said so
        self.num_reported_to = 0  # blocks whose loss would still be reported to it

    def count(self, *, surviving: int, leading: int, predicate_true: bool) -> None:
        """Take over the counts of a claim event."""
        self.surviving, self.leading, self.predicate_true = surviving, leading, predicate_true

    def gain(self, position: int) -> None:
        """A block was computed; everything before it already was."""
        self.leading = max(self.leading, position + 1)
        self.surviving = max(self.surviving, position + 1)

    def lose(self, position: int) -> None:
        """A block was lost after the claim ended."""
        self.leading = min(self.leading, position)
        self.surviving = max(0, self.surviving - 1)
        self.predicate_true = self.predicate_true and not self.start <= position < self.end

    def as_fields(self) -> dict[str, Any]:
        """All claim fields as of the last event."""
        return {
            **self.fields,
            "resident_blocks_materialized": self.surviving,
            "leading_blocks_survived": self.leading,
            "predicate_materialized": self.predicate_true,
        }


class ClaimNames:
    """Named claims by native number: live ones, and ended ones as long as the loss of a block may still be reported to them.

    A block's loss is reported to the claim that named it last, so at most one ended claim per block is kept.
    """

    __slots__ = ("_by_number", "_reported_to")

    def __init__(self) -> None:
        self._by_number: dict[int, NamedClaim] = {}
        self._reported_to: dict[int, int] = {}  # block id -> number of the ended claim that named it last

    def __getitem__(self, number: int) -> NamedClaim:
        return self._by_number[number]

    def __len__(self) -> int:
        return len(self._by_number)

    def add(self, number: int, claim: NamedClaim) -> None:
        """Name an accepted claim."""
        self._by_number[number] = claim

    def expect_losses(self, number: int, blocks: list[int]) -> None:
        """The claim is about to end: later losses of `blocks` are reported to it. REQUIRES every earlier event was read."""
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
