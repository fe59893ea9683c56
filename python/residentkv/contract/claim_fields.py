"""What the events of one claim share: names and identities that its submission fixes (contract.md section 6)."""

from typing import Any

from residentkv.contract.claim import ClaimSpec
from residentkv.contract.identity import request_token_map_id, reusable_object_id


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
