from residentkv.contract.claim import ClaimSpec
from residentkv.contract.claim_fields import fields_of_spec
from residentkv.contract.identity import request_token_map_id, reusable_object_id
from residentkv.contract.predicate import LeadingPrefix
from tests.unit.runtime.scenario import BLOCK, IDENTITY, tokens


def test_fields_name_object_and_token_map():
    ids = tokens(1, 5, extra=2)
    fields = fields_of_spec(ClaimSpec("c", "owner", IDENTITY, ids, LeadingPrefix(3), footprint_blocks=4))
    assert fields["prefix_id"] == reusable_object_id(IDENTITY, ids, 3)
    assert fields["reusable_object_id"] == reusable_object_id(IDENTITY, ids, 4)
    assert fields["request_token_map_id"] == request_token_map_id(IDENTITY, ids)
    assert fields["materialization_predicate"] == "leading_prefix_at_least(3)"
    assert fields["resident_blocks_required"] == 4
    assert fields["cache_identity"]["block_size"] == BLOCK


def test_the_prefix_is_what_the_predicate_tests():
    base = ClaimSpec("c", "owner", IDENTITY, tokens(1, 5), LeadingPrefix(3))
    longer = ClaimSpec("c", "owner", IDENTITY, tokens(1, 5), LeadingPrefix(4))
    other = ClaimSpec("c", "owner", IDENTITY, tokens(2, 5), LeadingPrefix(3))
    assert len({fields_of_spec(spec)["prefix_id"] for spec in (base, longer, other)}) == 3
    assert fields_of_spec(base)["predicate_id"] == "c/leading_prefix_at_least(3)"


def test_extra_keys_are_part_of_the_names():
    plain = ClaimSpec("c", "owner", IDENTITY, tokens(1, 5), LeadingPrefix(3))
    keyed = ClaimSpec("c", "owner", IDENTITY, tokens(1, 5), LeadingPrefix(3), extra_keys=[b"image"])
    assert fields_of_spec(plain)["prefix_id"] != fields_of_spec(keyed)["prefix_id"]
