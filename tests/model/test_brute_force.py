"""Every subset of 8 claims on 24 blocks: what must end to admit a request, by trial of all of them."""

from itertools import combinations

import pytest

from tests.model.facts import Mode, Outcome
from tests.model.world_faults import FaultWorld
from tests.support.native import ints

# Chains of one-token blocks that overlap: shared heads, one inside another; one of them is planned only.
CHAINS = ([1, 2, 3, 4], [1, 2, 5], [1, 2], [6, 7, 8], [6, 7, 9, 10], [11, 12, 13], [14, 15], [1, 16])
PLANNED = 5


@pytest.mark.parametrize(
    ("tokens", "new", "outcome"),
    [
        pytest.param(list(range(100, 112)), -1, Outcome.REFUSED, id="refused"),
        pytest.param([1, 2, 3, *range(100, 112)], -1, Outcome.REFUSED, id="refused-over-a-hit"),
        pytest.param([11, 12, *range(100, 108)], 3, Outcome.REFUSED, id="refused-over-a-plan"),
        pytest.param(list(range(100, 105)), -1, Outcome.DEFERRED, id="deferred"),
        pytest.param([6, 7, *range(100, 105)], -1, Outcome.DEFERRED, id="deferred-over-a-hit"),
        pytest.param(list(range(100, 130)), -1, Outcome.CAPACITY_REQUIRED, id="never"),
    ],
)
def test_every_subset_of_eight_claims(tokens: list[int], new: int, outcome: Outcome):
    world = FaultWorld(24, 1)
    for number, chain in enumerate(CHAINS):
        if number != PLANNED:
            request = world.admit(chain)
            assert request is not None
            world.plan({request.key: chain[request.planned :]})
            world.commit()
            world.finish(request)
        assert world.accept(chain, (0, len(chain)), Mode.PROTECTING)
    assert world.admit([50, 51, 52, 53], 0) is not None
    assert world.core.conflict(0, ints(*tokens), new, None).decision.outcome == outcome
    claims = list(world.facts.claims)
    for size in range(len(claims) + 1):
        for subset in combinations(claims, size):
            world.ask(tokens, new, 0, (), list(subset))
