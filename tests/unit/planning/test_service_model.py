import math

import pytest

from residentkv import ContractError
from residentkv.planning.service_model import ServiceModel


def test_a_step_adds_up():
    model = ServiceModel(prefill_tokens_per_s=1000.0, step_overhead_s=0.01, decode_request_s=0.001)
    assert model.step_ns(500, 4) == 514_000_000
    assert model.step_ns(0, 0) == 10_000_000


@pytest.mark.parametrize("rate", [0, -1.0, math.nan, math.inf, "fast"])
def test_rates_are_finite_and_positive(rate: object):
    with pytest.raises(ContractError, match="prefill_tokens_per_s"):
        ServiceModel(prefill_tokens_per_s=rate)  # type: ignore[arg-type]
