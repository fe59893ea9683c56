"""Claims as a file: what to claim of a trace, when, and on which terms. JSON, `{"schema_version": 1, "claims": [...]}`.

Each claim: `claim_id`, `owner_scope`, `mode`, then either `hash_ids` (of the trace's 512-token pieces) or `token_ids`,
and `footprint_blocks` (default: all full blocks). Optional: `at_s` (seconds of the trace, default 0), `duration_s` (of
the trace's clock), `predicted_value`, `confidence`. The predicate is the leading prefix of the whole footprint.
"""

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from residentkv.contract.claim import ClaimSpec, Duration, ProtectionMode
from residentkv.contract.errors import ConfigError, ContractError
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import LeadingPrefix
from residentkv.planning.planned_claim import PlannedClaim
from residentkv.planning.request_trace import HASHED_TOKENS, HashedPrompt

SCHEMA_VERSION: Final = 1
_NANOSECONDS: Final = 1e9
_REQUIRED: Final = frozenset({"claim_id", "owner_scope", "mode"})
_OPTIONAL: Final = frozenset(
    {"hash_ids", "token_ids", "footprint_blocks", "at_s", "duration_s", "predicted_value", "confidence"}
)


def read_claims(
    path: str | Path, identity: CacheIdentity, hash_numbers: Mapping[Hashable, int]
) -> tuple[PlannedClaim, ...]:
    """Read a claims file. O(its tokens).

    Parameters
    ----------
    identity : of every claim.
    hash_numbers : `RequestTrace.hash_numbers` of the trace that the claims are made for.

    Raises
    ------
    ConfigError : not such a file, or a claim that no manager could take; says which one and why.
    OSError : the file can not be read.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(f'{path}: expected an object with "schema_version": {SCHEMA_VERSION} and "claims": [...]')
    claims = document.get("claims")
    if not isinstance(claims, list) or not claims:
        raise ConfigError(f'{path}: expected "claims" to be a non-empty list, found {type(claims).__name__}')
    planned = tuple(_claim(f"{path}: claim {n}", claim, identity, hash_numbers) for n, claim in enumerate(claims))
    ids = [claim.spec.claim_id for claim in planned]
    if len(set(ids)) != len(ids):
        raise ConfigError(f"{path}: {next(i for i in ids if ids.count(i) > 1)!r} is the id of two claims")
    return planned


def _claim(where: str, fields: object, identity: CacheIdentity, hash_numbers: Mapping[Hashable, int]) -> PlannedClaim:
    try:
        return _checked_claim(fields, identity, hash_numbers)
    except (ContractError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _checked_claim(fields: object, identity: CacheIdentity, hash_numbers: Mapping[Hashable, int]) -> PlannedClaim:
    if not isinstance(fields, dict):
        raise ValueError(f"expected an object, found {type(fields).__name__}")
    if missing := _REQUIRED - fields.keys():
        raise ValueError(f"lacks {', '.join(sorted(missing))}")
    if unknown := fields.keys() - _REQUIRED - _OPTIONAL:
        raise ValueError(f"unknown field {', '.join(sorted(unknown))}")
    tokens = _tokens(fields, hash_numbers)
    footprint = fields.get("footprint_blocks", len(tokens) // identity.block_size)
    duration_s = fields.get("duration_s")
    spec = ClaimSpec(
        fields["claim_id"],
        fields["owner_scope"],
        identity,
        tokens,
        LeadingPrefix(footprint),
        mode=ProtectionMode(fields["mode"]),
        duration=None if duration_s is None else Duration(nanoseconds=round(float(duration_s) * _NANOSECONDS)),
        predicted_value=fields.get("predicted_value"),
        confidence=fields.get("confidence"),
    )
    return PlannedClaim(round(float(fields.get("at_s", 0)) * _NANOSECONDS), spec)


def _tokens(fields: Mapping[str, Any], hash_numbers: Mapping[Hashable, int]) -> Any:
    if ("hash_ids" in fields) == ("token_ids" in fields):
        raise ValueError("needs hash_ids or token_ids, one of them")
    if "token_ids" in fields:
        return np.array(fields["token_ids"], np.int64)
    ids = fields["hash_ids"]
    if not isinstance(ids, list) or not ids or any(i not in hash_numbers for i in ids):
        raise ValueError("hash_ids must be a non-empty list of ids that the trace has")
    return HashedPrompt(tuple(hash_numbers[i] for i in ids), len(ids) * HASHED_TOKENS).tokens()
