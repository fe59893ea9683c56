import json
from pathlib import Path
from typing import Any

import pytest

from residentkv import ConfigError, ProtectionMode
from residentkv.planning.claims_file import read_claims
from residentkv.planning.replay import replay_identity

IDENTITY = replay_identity(16)
NUMBERS = {"a": 0, "b": 1}
CLAIM = {"claim_id": "c", "owner_scope": "o", "mode": "hard_protected", "hash_ids": ["a", "b"]}


def read(path: Path, *claims: Any, **document: Any):
    (path / "f").write_text(json.dumps({"schema_version": 1, "claims": list(claims), **document}))
    return read_claims(path / "f", IDENTITY, NUMBERS)


def test_claims_are_read(tmp_path: Path):
    first, second = read(
        tmp_path,
        {**CLAIM, "at_s": 2, "footprint_blocks": 40, "predicted_value": 3},
        {"claim_id": "t", "owner_scope": "o", "mode": "expiring", "token_ids": list(range(33)), "duration_s": 1.5},
    )
    assert (first.at_ns, first.spec.num_footprint_blocks, first.spec.predicted_value) == (2 * 10**9, 40, 3)
    assert len(first.spec.tokens) == 1024
    assert second.spec.mode is ProtectionMode.EXPIRING
    assert second.spec.num_footprint_blocks == 2
    assert second.spec.duration is not None
    assert second.spec.duration.nanoseconds == 1_500_000_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "pinned"}, "'pinned' is not a valid ProtectionMode"),
        ({"hash_ids": ["z"]}, "ids that the trace has"),
        ({"token_ids": [1]}, "one of them"),
        ({"footprint_blocks": 65}, "the tokens fill 64"),
        ({"colour": 1}, "unknown field colour"),
        ({"duration_s": "soon"}, "could not convert"),
    ],
)
def test_a_bad_claim_is_named(tmp_path: Path, changes: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match="claim 1: ") as raised:
        read(tmp_path, {**CLAIM, "claim_id": "good"}, {**CLAIM, **changes})
    assert message in str(raised.value)


def test_what_is_no_claims_file(tmp_path: Path):
    for text in ("", "[]", '{"schema_version": 2, "claims": [1]}', '{"schema_version": 1, "claims": []}'):
        (tmp_path / "f").write_text(text)
        with pytest.raises(ConfigError, match=str(tmp_path / "f")):
            read_claims(tmp_path / "f", IDENTITY, NUMBERS)
    with pytest.raises(ConfigError, match="'c' is the id of two claims"):
        read(tmp_path, CLAIM, CLAIM)
    with pytest.raises(ConfigError, match="lacks mode"):
        read(tmp_path, {"claim_id": "c", "owner_scope": "o"})
    with pytest.raises(ConfigError, match="expected an object"):
        read(tmp_path, 3)
