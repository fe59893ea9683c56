"""Keeping most blocks is not keeping prefixes: sharing policies, run under pressure and judged by their predicates.

Four owners have a prefix of 30 blocks each on a pool of 120. A request of 45 needs room: 75 blocks can stay. A policy
says how many leading blocks of each prefix are claimed hard; small requests then replace whatever is not. A best-effort
claim on each whole prefix protects nothing: its predicate says whether the prefix is still worth its value, and its
events say what was lost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from residentkv.contract.arbiter import PRESERVE_CLAIMS
from residentkv.contract.claim import ClaimSpec, ProtectionMode
from residentkv.contract.decision import Admitted
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import LeadingPrefix
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.runtime import MicroRuntime

if TYPE_CHECKING:
    from residentkv.contract.events import Event

VALUES: Final[Mapping[str, float]] = {"p1": 9.0, "p2": 8.0, "p3": 5.0, "p4": 4.0}
PREFIX_BLOCKS: Final = 30
PRESSURE_BLOCKS: Final = 45
USABLE_BLOCKS: Final = PREFIX_BLOCKS * len(VALUES)

_IDENTITY: Final = CacheIdentity("materialization", "model", "tokenizer", "salt", block_size=1, kv_format="none")
_STREAM_TOKENS: Final = 1000  # texts that share no block
_PRESSURE: Final = tuple(range(9 * _STREAM_TOKENS, 9 * _STREAM_TOKENS + PRESSURE_BLOCKS))

Shares = Mapping[str, int]  # leading blocks of each prefix that are protected


def no_protection(budget: int) -> Shares:
    """Leave everything to eviction order."""
    del budget
    return dict.fromkeys(VALUES, 0)


def fair_share(budget: int) -> Shares:
    """Give every owner the same, the first ones what is left over."""
    each, left = divmod(budget, len(VALUES))
    return {prefix: min(PREFIX_BLOCKS, each + (i < left)) for i, prefix in enumerate(VALUES)}


def proportional_to_value(budget: int) -> Shares:
    """Give every owner blocks in proportion to its value, rounded down, the first ones what is left over."""
    total = sum(VALUES.values())
    shares = {prefix: min(PREFIX_BLOCKS, int(budget * value / total)) for prefix, value in VALUES.items()}
    left = budget - sum(shares.values())
    for prefix, share in shares.items():
        shares[prefix] = min(PREFIX_BLOCKS, share + left)
        left -= shares[prefix] - share
    return shares


def whole_prefixes_by_value(budget: int) -> Shares:
    """Keep whole prefixes, the most valuable first, and nothing of the others."""
    shares = dict.fromkeys(VALUES, 0)
    for prefix in sorted(VALUES, key=VALUES.__getitem__, reverse=True):
        if sum(shares.values()) + PREFIX_BLOCKS <= budget:
            shares[prefix] = PREFIX_BLOCKS
    return shares


POLICIES: Final[Mapping[str, Callable[[int], Shares]]] = {
    policy.__name__: policy for policy in (no_protection, fair_share, proportional_to_value, whole_prefixes_by_value)
}


@dataclass(frozen=True, slots=True)
class Kept:
    """What a policy kept. Counts are blocks.

    Parameters
    ----------
    surviving_by_prefix : blocks on the device after the pressure.
    materialized : prefixes whose predicate is still true.
    threshold_value : of those; a prefix that is not whole is worth nothing.
    harmed : prefixes whose loss was reported.
    """

    policy: str
    pressure_served: bool
    surviving_by_prefix: Mapping[str, int]
    surviving_blocks: int
    materialized: tuple[str, ...]
    threshold_value: float
    harmed: tuple[str, ...]


def compare() -> list[Kept]:
    """Run every policy."""
    return [run(policy) for policy in POLICIES]


def run(policy: str) -> Kept:
    """Run one policy."""
    events: list[Event] = []
    options = MicroOptions(USABLE_BLOCKS, _IDENTITY, PRESERVE_CLAIMS, run_id=policy)
    micro = MicroRuntime(options, lambda: 0, events.append)
    for prefix in VALUES:
        micro.claims.submit(_claim(prefix, prefix, PREFIX_BLOCKS, ProtectionMode.BEST_EFFORT))
        _serve(micro, f"seed of {prefix}", _tokens(prefix))
    watched = {claim.claim_id: claim for claim in micro.claims}
    for prefix, share in POLICIES[policy](USABLE_BLOCKS - PRESSURE_BLOCKS).items():
        if share:
            micro.claims.submit(_claim(f"{prefix} protected", prefix, share, ProtectionMode.HARD_PROTECTED))
    served = _serve(micro, "pressure", _PRESSURE)
    for i in range(USABLE_BLOCKS):  # a busy server: what nobody protects is replaced sooner or later
        _serve(micro, f"passer-by {i}", (_PRESSURE[-1] + 1 + i,))
    surviving = {prefix: len(claim.surviving()) for prefix, claim in watched.items()}
    whole = tuple(p for p, claim in watched.items() if claim.spec.predicate.holds(claim.surviving()))
    return Kept(
        policy=policy,
        pressure_served=served,
        surviving_by_prefix=surviving,
        surviving_blocks=sum(surviving.values()),
        materialized=whole,
        threshold_value=sum(VALUES[prefix] for prefix in whole),
        harmed=tuple(event["claim_id"] for event in events if event["event"] == "resident_claim_harmed"),
    )


def _tokens(prefix: str) -> tuple[int, ...]:
    start = list(VALUES).index(prefix) * _STREAM_TOKENS
    return tuple(range(start, start + PREFIX_BLOCKS))


def _claim(claim_id: str, prefix: str, num_blocks: int, mode: ProtectionMode) -> ClaimSpec:
    return ClaimSpec(
        claim_id=claim_id,
        owner_scope=prefix,
        cache_identity=_IDENTITY,
        tokens=_tokens(prefix)[:num_blocks],
        predicate=LeadingPrefix(num_blocks),
        mode=mode,
        predicted_value=VALUES[prefix],
    )


def _serve(micro: MicroRuntime, request_id: str, tokens: tuple[int, ...]) -> bool:
    answer = micro.admit(request_id, tokens)
    if isinstance(answer, Admitted):
        micro.step({request_id: tokens[answer.num_cached_tokens :]})
        micro.finish(request_id)
    return isinstance(answer, Admitted)
