import pytest

from residentkv.lowering.relation import CARRIERS, NATURE, USEFUL, Mechanism, not_carrying, not_useful
from residentkv.lowering.vocabulary import Mode, Obligation


def test_the_tables_are_complete():
    assert set(NATURE) == set(Mechanism)
    assert set(USEFUL) == set(Mode)
    assert set(CARRIERS) == set(Obligation)


def test_every_reason_is_told_once():
    assert len(set(NATURE.values())) == len(NATURE)


@pytest.mark.parametrize(
    ("mechanism", "mode"),
    [
        (Mechanism.RETENTION_PRIORITY, Mode.HARD_PROTECTED),
        (Mechanism.SCHEDULER_RESERVATION, Mode.HARD_PROTECTED),
        (Mechanism.FORCED_UNPIN_TIMER, Mode.EXPIRING),
        (Mechanism.COUNTER, Mode.OFFLOADABLE),
        (Mechanism.EVICTION_ORDER, Mode.SOFT_PRIORITY),
    ],
)
def test_a_nearby_feature_is_no_part_of_the_mode(mechanism: Mechanism, mode: Mode):
    reason = not_useful(mechanism, mode)
    assert reason is not None
    assert NATURE[mechanism] in reason


@pytest.mark.parametrize(
    ("mechanism", "obligation"),
    [
        (Mechanism.REFERENCE_COUNT, Obligation.ACCEPTED_CLAIM_IDENTITY),
        (Mechanism.OFFLOAD_COPY, Obligation.OFFLOAD_RESTORABILITY),
        (Mechanism.BLOCK_EVENT, Obligation.CLAIM_SCOPED_OUTCOME),
        (Mechanism.ROUTER_AFFINITY, Obligation.ACCEPTED_CLAIM_PLACEMENT),
    ],
)
def test_a_nearby_feature_carries_no_obligation(mechanism: Mechanism, obligation: Obligation):
    assert not_carrying(mechanism, obligation) is not None


@pytest.mark.parametrize("mode", Mode)
def test_a_claim_manager_is_useful_everywhere(mode: Mode):
    assert not_useful(Mechanism.CLAIM_MANAGER, mode) is None


def test_no_plain_feature_carries_acceptance():
    assert CARRIERS[Obligation.ACCEPTED_CLAIM_IDENTITY] == {
        Mechanism.CLAIM_MANAGER,
        Mechanism.ADAPTER_ARBITER,
        Mechanism.ADAPTER_JOIN,
    }
