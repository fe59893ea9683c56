"""A predicate is about which positions survive, never about how many."""

import pytest

from residentkv.contract.errors import ContractError
from residentkv.contract.predicate import ContiguousRange, LeadingPrefix, parse_predicate


def test_59_of_60_without_the_first_do_not_hold():
    assert LeadingPrefix(60).holds(range(60))
    assert not LeadingPrefix(60).holds(range(1, 60))
    assert not LeadingPrefix(60).holds(range(59))


def test_a_range_tests_only_itself():
    predicate = ContiguousRange(10, 20)
    assert predicate.holds(range(10, 30))
    assert not predicate.holds(range(11, 30))
    assert not predicate.holds(range(29))


@pytest.mark.parametrize(
    ("predicate", "start", "blocks", "text"),
    [
        (LeadingPrefix(60), 0, 60, "leading_prefix_at_least(60)"),
        (ContiguousRange(10, 20), 10, 30, "contiguous_range(10,20)"),
        (ContiguousRange(0, 1), 0, 1, "contiguous_range(0,1)"),
    ],
)
def test_needs_every_block_before_its_end(predicate, start, blocks, text):
    assert (predicate.start, predicate.predicate_blocks, str(predicate)) == (start, blocks, text)
    assert parse_predicate(text) == predicate


def test_reads_the_other_spelling():
    assert parse_predicate("contiguous_range(10, 20)") == ContiguousRange(10, 20)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "leading_prefix_at_least(0)",
        "leading_prefix_at_least(-1)",
        "contiguous_range(1)",
        "all",
        "x contiguous_range(1,2)",
    ],
)
def test_reads_nothing_else(text):
    with pytest.raises(ContractError):
        parse_predicate(text)


@pytest.mark.parametrize("count", [0, -1, 1.0, True, None])
def test_counts_are_positive_ints(count):
    with pytest.raises(ContractError, match="num_blocks"):
        LeadingPrefix(count)
    with pytest.raises(ContractError, match="num_blocks"):
        ContiguousRange(0, count)


def test_a_range_starts_at_zero_or_later():
    with pytest.raises(ContractError, match="start"):
        ContiguousRange(-1, 1)
