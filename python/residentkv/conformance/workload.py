"""The canonical case scenarios share: 60 claimed blocks, an active prefill of 70, 80 usable (contract.md section 5)."""

from typing import Final

from residentkv.contract.claim import ClaimSpec, Duration, ProtectionMode
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import LeadingPrefix

BLOCK_TOKENS: Final = 16
RESIDENT_BLOCKS: Final = 60
ACTIVE_BLOCKS: Final = 70
USABLE_BLOCKS: Final = 80

IDENTITY: Final = CacheIdentity(
    cache_key_domain="conformance",
    model_id="reference-model",
    tokenizer_id="reference-tokenizer",
    salt_namespace="conformance",
    block_size=BLOCK_TOKENS,
    kv_format="fp16-nhd",
)

# Texts that share no block: each stream has token ids of its own.
_STREAM_TOKENS: Final = 100_000
_STREAMS: Final = ("resident", "active", "bystander", "other", "huge")


def text(stream: str, num_blocks: int) -> tuple[int, ...]:
    """Token ids of the first `num_blocks` full blocks of a text."""
    start = _STREAMS.index(stream) * _STREAM_TOKENS
    return tuple(range(start, start + num_blocks * BLOCK_TOKENS))


def extended(tokens: tuple[int, ...]) -> tuple[int, ...]:
    """`tokens` and one more, so that a request for them may reuse every full block."""
    return (*tokens, 1)


def claim(
    claim_id: str,
    tokens: tuple[int, ...],
    mode: ProtectionMode,
    *,
    duration: Duration | None = None,
    predicted_value: float | None = None,
) -> ClaimSpec:
    """Ask that every block of `tokens` stays."""
    return ClaimSpec(
        claim_id=claim_id,
        owner_scope="tenant",
        cache_identity=IDENTITY,
        tokens=tokens,
        predicate=LeadingPrefix(len(tokens) // BLOCK_TOKENS),
        mode=mode,
        duration=duration,
        predicted_value=predicted_value,
    )
