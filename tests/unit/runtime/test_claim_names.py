from residentkv.contract.predicate import ContiguousRange, LeadingPrefix
from residentkv.runtime.claim_names import ClaimNames, NamedClaim, Survival


def named(predicate: LeadingPrefix | ContiguousRange) -> NamedClaim:
    return NamedClaim({"claim_id": "c"}, predicate)


def test_counts_follow_gained_and_lost_blocks():
    claim = named(LeadingPrefix(2))
    claim.gain(0)
    claim.gain(1)
    assert claim.survival == Survival(2, 2, predicate_true=False)  # true when a claim event says so
    claim.survival = Survival(3, 3, predicate_true=True)
    claim.lose(2)
    assert claim.survival == Survival(2, 2, predicate_true=True)
    claim.lose(1)
    assert claim.survival == Survival(1, 1, predicate_true=False)


def test_a_loss_before_the_tested_range_keeps_the_predicate():
    claim = named(ContiguousRange(2, 2))
    claim.survival = Survival(4, 4, predicate_true=True)
    claim.lose(1)
    assert claim.survival == Survival(3, 1, predicate_true=True)
    claim.lose(3)
    assert claim.survival == Survival(2, 1, predicate_true=False)


def test_an_ended_claim_is_known_until_its_last_block_is_lost():
    names = ClaimNames()
    names.add(0, named(LeadingPrefix(2)))
    names.expect_losses(0, [5, 6])
    names.ended(0)
    names.lost(6, 0)
    assert names.get(0).has_ended
    names.lost(5, 0)
    assert len(names) == 0


def test_a_claim_without_blocks_is_forgotten_when_it_ends():
    names = ClaimNames()
    names.add(0, named(LeadingPrefix(2)))
    names.ended(0)
    assert len(names) == 0


def test_blocks_that_a_later_claim_named_are_reported_to_that_one():
    names = ClaimNames()
    for number in range(100):  # the same prefix, claimed again and again: nothing piles up
        names.add(number, named(LeadingPrefix(2)))
        names.expect_losses(number, [5, 6])
        names.ended(number)
    assert len(names) == 1
    names.lost(5, 7)  # a stale report changes nothing
    assert names.get(99).num_reported_to == 2


def test_an_event_of_a_live_claim_does_not_forget_it():
    names = ClaimNames()
    names.add(0, named(LeadingPrefix(1)))
    names.expect_losses(0, [5])
    names.lost(5, 0)  # lost between the end and the reading of the event that says so
    assert not names.get(0).has_ended
    names.ended(0)
    assert names.get(0) is None
