"""How long a step takes on the imagined accelerator: the one thing a replay has to assume.

    seconds(step) = step_overhead_s + prefill tokens / prefill_tokens_per_s + decoding requests * decode_request_s

A step computes its prefill chunk and one token of every decoding request together, as chunked prefill does. Left out:
attention cost that grows with the context, kernels that saturate, speculative tokens, transfers, and everything before
and after the engine. Rates measured on a machine can be given instead of the defaults, which describe no product.
"""

import math
from dataclasses import dataclass, fields

from residentkv.contract.errors import ContractError

_NANOSECONDS: float = 1e9


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """Rates of one engine.

    Parameters
    ----------
    prefill_tokens_per_s : prompt tokens computed per second.
    step_overhead_s : seconds that every step takes, whatever is in it (reading the weights once, mostly).
    decode_request_s : seconds that each decoding request adds to a step.

    Raises
    ------
    ContractError : a rate that is not finite and positive.
    """

    prefill_tokens_per_s: float = 60_000.0
    step_overhead_s: float = 0.015
    decode_request_s: float = 0.000_05

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                raise ContractError(f"{field.name} must be a finite number > 0, got {value!r}")

    def step_ns(self, num_prefill_tokens: int, num_decoding: int) -> int:
        """Duration of one step in nanoseconds, rounded to whole ones so that a replay is exact arithmetic."""
        seconds = (
            self.step_overhead_s + num_prefill_tokens / self.prefill_tokens_per_s + num_decoding * self.decode_request_s
        )
        return max(1, round(seconds * _NANOSECONDS))
