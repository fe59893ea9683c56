"""Bad input is one clear message, never a label."""

from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from residentkv.lowering.descriptor import DescriptorError
from residentkv.lowering.reading import MAX_DESCRIPTOR_BYTES, descriptor_schema, read_descriptor, read_descriptors
from residentkv.lowering.relation import Mechanism
from residentkv.lowering.shipped import shipped_descriptors
from residentkv.lowering.vocabulary import Depth, Label, Mode, Obligation, Stance
from unit.lowering.conftest import PIN


def test_reads_what_was_written(written: Callable[..., Path]):
    descriptor = read_descriptor(written())
    (row,) = descriptor.rows
    assert (descriptor.runtime, descriptor.version) == ("tempting-kv", "1.0")
    assert (row.mode, row.mechanism, row.declared) == (Mode.HARD_PROTECTED, Mechanism.PIN_CALL, Label.APPROXIMATION)
    assert [str(anchor) for anchor in row.evidence[0].anchors] == [
        f"tempting:tempting_kv/cache.py:{PIN['lines'][0]}-{PIN['lines'][1]} PrefixCache.pin"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("schema_version = 1", "schema_version = 2", "1 was expected", id="another schema version"),
        pytest.param("schema_version = 1", "schema_version =", "not TOML", id="malformed"),
        pytest.param("schema_version = 1", "schema_version = 1\nschema_version = 1", "not TOML", id="key twice"),
        pytest.param('mode = "hard_protected"', 'mode = "very_hard"', "very_hard", id="unknown mode"),
        pytest.param('declared = "approximation"', 'declared = "gold"', "gold", id="unknown label"),
        pytest.param('"victim_exclusion"', '"victim_kindness"', "victim_kindness", id="unknown obligation"),
        pytest.param('"victim_exclusion"', '"expiry_before_loss"', "no obligation of hard", id="obligation of another"),
        pytest.param('stance = "lacks"', 'stance = "nearly"', "nearly", id="unknown stance"),
        pytest.param('mechanism = "pin_call"', 'mechanism = "magic"', "magic", id="unknown mechanism"),
        pytest.param("summary = ", "summaries = ", "summaries", id="misspelled field"),
        pytest.param('source = "tempting"', 'source = "other"', "no [source.other]", id="undeclared source"),
        pytest.param("tempting_kv/cache.py", "../cache.py", "does not match", id="path upwards"),
        pytest.param("tempting_kv/cache.py", "/etc/passwd", "does not match", id="absolute path"),
        pytest.param("tempting_kv/cache.py", "a/../../b.py", "does not match", id="path upwards inside"),
        pytest.param("tempting_kv/cache.py", "a\\\\b.py", "does not match", id="backslash"),
        pytest.param('symbol = "PrefixCache.pin"', 'symbol = "a; rm"', "does not match", id="symbol with a command"),
        pytest.param(f"lines = [{PIN['lines'][0]}, ", "lines = [9999, ", "are no range", id="lines backwards"),
        pytest.param(f"lines = [{PIN['lines'][0]}, ", "lines = [0, ", "minimum", id="line zero"),
        pytest.param(PIN["sha256"], "abc", "does not match", id="short hash"),
    ],
)
def test_a_descriptor_that_is_none_is_refused(
    written: Callable[..., Path], tmp_path: Path, old: str, new: str, message: str
):
    path = written()
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DescriptorError, match=".") as raised:
        read_descriptor(path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("anchor", "message"),
    [
        ({"probe": "rm -rf /", "case": "L3", "gate": "L3", "verdict": "pass"}, "does not match"),
        ({"probe": "os.system", "case": "L3", "gate": "L3", "verdict": "pass"}, "no probe 'os.system' ships"),
        ({"probe": "native-litmus", "case": "../x", "gate": "L3", "verdict": "pass"}, "does not match"),
        ({"probe": "native-litmus", "case": "L3", "gate": "eval", "verdict": "pass"}, "no gate 'eval'"),
        ({"probe": "native-litmus", "case": "L3", "gate": "L3", "verdict": "fail"}, "fails"),
        ({"probe": "native-litmus", "case": "L3", "gate": "L3", "verdict": "pass", "fails": ["x"]}, "False"),
        ({"trace": "../x.jsonl", "sha256": "0" * 64, "gate": "L3", "verdict": "pass"}, "does not match"),
        ({"trace": "x.jsonl", "sha256": "0" * 64, "gate": "L3", "verdict": "maybe"}, "maybe"),
        ({"anchor": "none"}, "anchor"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_anchor_that_is_none_is_refused(written: Callable[..., Path], anchor: dict[str, object], message: str):
    with pytest.raises(DescriptorError) as raised:
        read_descriptor(written(anchor))
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\xff\xfe binary", "not text in UTF-8"),
        (b"# " + b"x" * MAX_DESCRIPTOR_BYTES, "is no descriptor"),
        (b"", "'schema_version' is a required property"),
        (b"a = " + b"[" * 100_000, "not TOML"),
        (b"{}", "not TOML"),
    ],
    ids=["binary", "huge", "empty", "deep", "json"],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "d.toml"
    path.write_bytes(content)
    with pytest.raises(DescriptorError) as raised:
        read_descriptor(path)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 600


def test_a_missing_file_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_descriptor(tmp_path / "missing.toml")


def test_rows_have_distinct_ids(written: Callable[..., Path], tmp_path: Path):
    path = written()
    twice = tmp_path / "twice.toml"
    head, row = path.read_text(encoding="utf-8").split("[[row]]")
    twice.write_text(f"{head}[[row]]{row}\n[[row]]{row}", encoding="utf-8")
    with pytest.raises(DescriptorError, match="appears twice"):
        read_descriptor(twice)
    with pytest.raises(DescriptorError, match="is also in"):
        read_descriptors([path, path])


def test_the_schema_is_a_schema_and_knows_every_word():
    schema = descriptor_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    row, piece = schema["$defs"]["row"]["properties"], schema["$defs"]["evidence"]["properties"]
    for words, property_ in [
        (Mode, row["mode"]),
        (Mechanism, row["mechanism"]),
        (Label, row["declared"]),
        (Depth, row["depth"]),
        (Obligation, piece["obligation"]),
        (Stance, piece["stance"]),
        (Mechanism, piece["by"]),
    ]:
        assert property_["enum"] == [word.value for word in words]


def test_what_is_shipped_is_read():
    descriptors = read_descriptors(shipped_descriptors())
    assert {descriptor.runtime for descriptor in descriptors} == {
        "vllm",
        "sglang",
        "tensorrt-llm",
        "dynamo",
        "lmcache",
        "kvcached",
        "mooncake-store",
        "residentkv",
    }
