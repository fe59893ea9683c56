"""Writes small traces by hand, one call an event."""

from residentkv.contract.events import CLAIM_FIELDS, make_event

RUN = {"timestamp_ns": 0, "run_id": "run", "policy": "policy", "usable_blocks": 8}
CLAIM = {
    **dict.fromkeys(CLAIM_FIELDS, "x"),
    "materialization_predicate": "leading_prefix_at_least(2)",
    "protection_mode": "hard_protected",
}


class Script:
    """Events in order. `claim` events are about a claim of two blocks."""

    def __init__(self):
        self.events = []

    def add(self, name, **values):
        self.events.append(make_event(name, {**RUN, "event_sequence": len(self.events), **values}))
        return self

    def claim(self, step, claim_id="a", **values):
        return self.add(f"resident_{step}", claim_id=claim_id, **{**CLAIM, **values})

    def accept(self, claim_id="a", **values):
        return self.claim("claim_submitted", claim_id, **values).claim("claim_accepted", claim_id, **values)

    def block(self, block, position, claim_id="a", **values):
        return self.claim(
            "block_materialized", claim_id, physical_block_id=block, logical_block_position=position, **values
        )

    def materialize(self, claim_id="a", first_block=0, **values):
        self.block(first_block, 0, claim_id, **values).block(first_block + 1, 1, claim_id, **values)
        return self.claim("claim_materialized", claim_id, **values)

    def victim(self, block, request_id="r", *, is_protected_resident=False):
        return self.add(
            "allocation_victim_selected",
            request_id=request_id,
            physical_block_id=block,
            is_protected_resident=is_protected_resident,
        )
