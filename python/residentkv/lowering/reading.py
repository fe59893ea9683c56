"""Reads descriptor files. Whatever is not exactly a descriptor is a DescriptorError with one clear message."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from residentkv.lowering.descriptor import (
    Anchor,
    Descriptor,
    DescriptorError,
    Distribution,
    Evidence,
    ProbeAnchor,
    Repository,
    Row,
    Source,
    SourceAnchor,
    TraceAnchor,
)
from residentkv.lowering.gates import GATES
from residentkv.lowering.probes import PROBES
from residentkv.lowering.relation import Mechanism
from residentkv.lowering.vocabulary import BUNDLES, Depth, Label, Mode, Obligation, Stance

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_DESCRIPTOR_BYTES: Final = 1 << 20
_MAX_MESSAGE: Final = 300  # characters of a schema error; it quotes the offending value


def read_descriptors(paths: Sequence[Path]) -> list[Descriptor]:
    """Read files whose rows are judged together.

    Raises
    ------
    DescriptorError : a file is not a descriptor, or two rows have one id.
    OSError : a file can not be read.
    """
    descriptors = [read_descriptor(path) for path in paths]
    owner: dict[str, Path] = {}
    for descriptor in descriptors:
        for row in descriptor.rows:
            if row.id in owner:
                raise DescriptorError(f"{descriptor.path}: row {row.id!r} is also in {owner[row.id]}")
            owner[row.id] = descriptor.path
    return descriptors


def read_descriptor(path: Path) -> Descriptor:
    """Read one file. Raises as `read_descriptors` does."""
    with path.open("rb") as file:
        content = file.read(MAX_DESCRIPTOR_BYTES + 1)
    if len(content) > MAX_DESCRIPTOR_BYTES:
        raise DescriptorError(f"{path}: more than {MAX_DESCRIPTOR_BYTES} bytes is no descriptor")
    values = _parse(path, content)
    _check_schema(path, values)
    return _descriptor(path, hashlib.sha256(content).hexdigest(), values)


@cache
def descriptor_schema() -> Mapping[str, Any]:
    """The published JSON Schema."""
    text = resources.files("residentkv.lowering").joinpath("descriptor-1.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DescriptorError(f"{path}: not text in UTF-8 (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise DescriptorError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise DescriptorError(f"{path}: not TOML: nested too deeply") from None
    return values


def _check_schema(path: Path, values: Mapping[str, Any]) -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(descriptor_schema())
    error = jsonschema.exceptions.best_match(validator.iter_errors(values))
    if error is not None:
        message = error.message if len(error.message) <= _MAX_MESSAGE else f"{error.message[:_MAX_MESSAGE]}..."
        raise DescriptorError(f"{path}: {error.json_path}: {message}")


def _descriptor(path: Path, sha256: str, values: Mapping[str, Any]) -> Descriptor:
    runtime = values["runtime"]
    sources = {name: _source(name, table) for name, table in values.get("source", {}).items()}
    rows = tuple(_row(path, table, sources) for table in values["row"])
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise DescriptorError(f"{path}: row {row.id!r} appears twice")
        seen.add(row.id)
    return Descriptor(
        path=path,
        sha256=sha256,
        runtime=runtime["name"],
        title=runtime["title"],
        version=runtime["version"],
        sources=sources,
        rows=rows,
    )


def _source(name: str, table: Mapping[str, Any]) -> Source:
    origin: Distribution | Repository
    if "package" in table:
        origin = Distribution(table["package"], table["version"])
    else:
        origin = Repository(table["repository"], table["commit"])
    return Source(name, origin, table["backend"])


def _row(path: Path, table: Mapping[str, Any], sources: Mapping[str, Source]) -> Row:
    where = f"{path}: row {table['id']!r}"
    mode = Mode(table["mode"])
    evidence = tuple(_evidence(where, item, mode, sources) for item in table.get("evidence", ()))
    return Row(
        id=table["id"],
        feature=table["feature"],
        mode=mode,
        mechanism=Mechanism(table["mechanism"]),
        depth=Depth(table["depth"]),
        runtime_mode=table["runtime_mode"],
        declared=Label(table["declared"]),
        summary=table["summary"],
        evidence=evidence,
        unavailable=table.get("unavailable"),
    )


def _evidence(where: str, item: Mapping[str, Any], mode: Mode, sources: Mapping[str, Source]) -> Evidence:
    obligation = Obligation(item["obligation"])
    if obligation not in BUNDLES[mode]:
        raise DescriptorError(f"{where}: {obligation.value} is no obligation of {mode.value}")
    return Evidence(
        obligation=obligation,
        stance=Stance(item["stance"]),
        by=Mechanism(item["by"]),
        depth=Depth(item["depth"]),
        says=item["says"],
        anchors=tuple(_anchor(where, anchor, sources) for anchor in item["anchors"]),
    )


def _anchor(where: str, item: Mapping[str, Any], sources: Mapping[str, Source]) -> Anchor:
    if "source" in item:
        first, last = item["lines"]
        if item["source"] not in sources:
            raise DescriptorError(f"{where}: no [source.{item['source']}] is declared")
        if last < first:
            raise DescriptorError(f"{where}: lines {first} to {last} of {item['file']} are no range")
        return SourceAnchor(item["source"], item["file"], first, last, item["symbol"], item["sha256"])
    gate = item["gate"]
    if gate not in GATES:
        raise DescriptorError(f"{where}: no gate {gate!r}; there are {', '.join(GATES)}")
    passes, fails = item["verdict"] == "pass", tuple(item.get("fails", ()))
    if "trace" in item:
        return TraceAnchor(item["trace"], item["sha256"], gate, passes, fails, item.get("claim"))
    if item["probe"] not in PROBES:
        raise DescriptorError(
            f"{where}: no probe {item['probe']!r} ships with residentkv; there are {', '.join(PROBES)}"
        )
    return ProbeAnchor(item["probe"], item["case"], gate, passes, fails)
