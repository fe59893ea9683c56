"""Whose KV it is, and how the same KV is named outside this process.

Inside a process identities are compared, never hashed into one space. Names that leave it (events, disk, wire) are
SHA-256 chains over the identity and the tokens: equal names mean equal KV, and nobody can aim at a collision.
"""

import hashlib
import json
import sys
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from residentkv.contract.errors import ContractError


class TokenArray(Protocol):
    """A one-dimensional integer array, for example a numpy array."""

    def __len__(self) -> int: ...
    def tolist(self) -> list[int]:
        """Return the elements as Python ints."""


Tokens = Sequence[int] | TokenArray
ExtraKeys = Sequence[bytes | None]  # one per full block, a missing tail means None


@dataclass(frozen=True, slots=True)
class CacheIdentity:
    """The space in which token chains may share KV. Two identities never share, whatever their tokens.

    Parameters
    ----------
    cache_key_domain, model_id, tokenizer_id, salt_namespace, kv_format : non-empty names.
    block_size : tokens in a block, > 0.
    adapter_id, prompt_embedding_id : non-empty names, or None.

    Raises
    ------
    ContractError : an empty or non-string name, or block_size <= 0.
    """

    cache_key_domain: str
    model_id: str
    tokenizer_id: str
    salt_namespace: str
    block_size: int
    kv_format: str
    adapter_id: str | None = None
    prompt_embedding_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("cache_key_domain", "model_id", "tokenizer_id", "salt_namespace", "kv_format"):
            _require_name(name, getattr(self, name))
        for name in ("adapter_id", "prompt_embedding_id"):
            if getattr(self, name) is not None:
                _require_name(name, getattr(self, name))
        if type(self.block_size) is not int or self.block_size <= 0:
            raise ContractError(f"block_size must be an int > 0, got {self.block_size!r}")

    def as_fields(self) -> dict[str, str | int | None]:
        """Return the identity as the object that events carry."""
        return asdict(self)


def checked_tokens(tokens: Tokens) -> tuple[int, ...]:
    """Copy token ids into a tuple of ints. O(len).

    Raises
    ------
    ContractError : not one-dimensional integers, or an id outside [0, 2**31).
    """
    try:
        values = array("i", _as_list(tokens))
    except (TypeError, ValueError, OverflowError) as error:
        raise ContractError(f"tokens must be one-dimensional int32 ids: {error}") from None
    if values and min(values) < 0:
        raise ContractError(f"token ids must be >= 0, got {min(values)}")
    return tuple(values)


def reusable_object_id(
    identity: CacheIdentity, tokens: Tokens, num_blocks: int, extra_keys: ExtraKeys | None = None
) -> str:
    """Name of the KV of the first `num_blocks` full blocks of `tokens`. O(num_blocks * block_size).

    The names of a prefix and of its extension come from one chain: a block's link covers its parent's link, its tokens
    and its extra key.

    Parameters
    ----------
    num_blocks : 0 <= num_blocks <= len(tokens) // block_size.
    extra_keys : one bytes or None per full block; None stands for no keys at all.

    Raises
    ------
    ContractError : num_blocks out of range, or tokens that `checked_tokens` rejects.
    """
    chain = array("i", checked_tokens(tokens))
    size = identity.block_size
    if not 0 <= num_blocks <= len(chain) // size:
        raise ContractError(f"num_blocks must be in [0, {len(chain) // size}], got {num_blocks}")
    link = _root_link("object", identity)
    for block in range(num_blocks):
        key = extra_keys[block] if extra_keys is not None and block < len(extra_keys) else None
        tail = b"\x00" if key is None else b"\x01" + key
        link = hashlib.sha256(link + _little_endian(chain[block * size : (block + 1) * size]) + tail).digest()
    return link.hex()


def request_token_map_id(identity: CacheIdentity, tokens: Tokens) -> str:
    """Name of the whole map from positions to tokens, partial last block included. O(len(tokens)).

    Raises
    ------
    ContractError : tokens that `checked_tokens` rejects.
    """
    chain = array("i", checked_tokens(tokens))
    return hashlib.sha256(_root_link("token_map", identity) + _little_endian(chain)).hexdigest()


def _root_link(purpose: str, identity: CacheIdentity) -> bytes:
    text = json.dumps(["residentkv", 1, purpose, identity.as_fields()], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()


def _little_endian(values: "array[int]") -> bytes:
    if sys.byteorder == "big":
        values = array("i", values)
        values.byteswap()
    return values.tobytes()


def _as_list(tokens: Tokens) -> list[int]:
    if isinstance(tokens, Sequence):
        return list(tokens)
    return tokens.tolist()


def _require_name(field: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ContractError(f"{field} must be a non-empty string, got {value!r}")
