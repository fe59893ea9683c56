"""What a case consists of, and how it becomes files."""

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from residentkv.conformance.tamper import Tamper
from residentkv.contract.events import Event
from residentkv.lowering.vocabulary import Label

RUNTIME: Final = "tempting-kv"
VERSION: Final = "1.0"
MODE: Final = "default"
CACHE: Final = "tempting_kv/cache.py"
_TRACES: Final = "vllm-0.32.0-{}.jsonl"  # honest runs of an adapter, made to be of this runtime

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One mistake.

    Parameters
    ----------
    reason : words that one of the reasons must contain.
    row : the row without its id, as TOML values.
    traces : files beside the descriptor.
    declared_version : of the package that the descriptor says it is about.
    """

    name: str
    label: Label
    reason: str
    row: Table
    traces: Mapping[str, bytes] = field(default_factory=dict)
    declared_version: str = VERSION
    package: str = RUNTIME


@cache
def source_folder() -> Path:
    """The folder that the tempting runtime is installed in; it lasts as long as the process.

    Laid out anew, because no wheel may carry the metadata of another distribution under its own name.
    """
    folder = Path(tempfile.mkdtemp(prefix="residentkv-tempting-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shipped = Path(str(resources.files("residentkv.lowering"))) / "bad" / "source"
    shutil.copytree(shipped, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    metadata = folder / "tempting_kv-1.0.dist-info"
    metadata.mkdir()
    (folder / "METADATA").rename(metadata / "METADATA")
    return folder


def lines(start: str, end: str, symbol: str, file: str = CACHE) -> dict[str, Any]:
    """A right source anchor: from the line that contains `start` to the next that contains `end`."""
    content = (source_folder() / file).read_bytes()
    split = content.decode("utf-8").split("\n")
    first = next(number for number, line in enumerate(split, start=1) if start in line)
    last = next(number for number, line in enumerate(split, start=1) if number >= first and end in line)
    text = "".join(f"{line}\n" for line in split[first - 1 : last])
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return {"source": "tempting", "file": file, "lines": [first, last], "symbol": symbol, "sha256": sha256}


def evidence(obligation: str, stance: str, by: str, *anchors: Table, depth: str = "native") -> dict[str, Any]:
    """One piece of evidence."""
    return {
        "obligation": obligation,
        "stance": stance,
        "by": by,
        "depth": depth,
        "says": "as the anchor shows",
        "anchors": list(anchors),
    }


def row(mode: str, mechanism: str, *pieces: Table, depth: str = "native", declared: str = "native") -> dict[str, Any]:
    """A row that claims as much as it can."""
    return {
        "feature": mechanism,
        "mode": mode,
        "mechanism": mechanism,
        "depth": depth,
        "runtime_mode": MODE,
        "declared": declared,
        "summary": "a tempting mapping",
        "evidence": list(pieces),
    }


@cache
def honest_events(name: str) -> tuple[Event, ...]:
    """Events of a shipped trace."""
    folder = Path(str(resources.files("residentkv.lowering"))) / "descriptors" / "traces"
    text = (folder / _TRACES.format(name)).read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


def trace(name: str, tamper: Tamper | None = None, **provenance: Any) -> bytes:
    """A trace of the tempting runtime: a shipped one, changed and signed with a provenance."""
    events: Sequence[Event] = honest_events(name)
    if tamper is not None:
        events = tamper(events)
    said = {"runtime": RUNTIME, "runtime_version": VERSION, "runtime_mode": MODE, **provenance}
    return "".join(json.dumps({**event, **said}) + "\n" for event in events).encode()


def trace_anchor(content: bytes, gate: str, *fails: str, file: str = "run.jsonl") -> dict[str, Any]:
    """An anchor with the right hash of `content`."""
    anchor: dict[str, Any] = {"trace": file, "sha256": hashlib.sha256(content).hexdigest(), "gate": gate}
    return anchor | ({"verdict": "fail", "fails": list(fails)} if fails else {"verdict": "pass"})


def write_case(case: Case, folder: Path) -> Path:
    """Write the case's files; answers the descriptor."""
    for name, content in case.traces.items():
        (folder / name).write_bytes(content)
    head: list[tuple[str, Table]] = [
        ("", {"schema_version": 1}),
        ("[runtime]", {"name": RUNTIME, "title": RUNTIME, "version": case.declared_version}),
        ("[source.tempting]", {"package": case.package, "version": case.declared_version, "backend": True}),
        ("[[row]]", {"id": case.name} | {name: value for name, value in case.row.items() if name != "evidence"}),
    ]
    head += [("[[row.evidence]]", piece) for piece in case.row.get("evidence", ())]
    path = folder / "descriptor.toml"
    path.write_text("\n".join(f"{header}\n{_pairs(table)}" for header, table in head), encoding="utf-8")
    return path


def _pairs(table: Table) -> str:
    return "".join(f"{name} = {toml_value(value)}\n" for name, value in table.items())


def toml_value(value: Any) -> str:
    """A value as TOML: JSON, but for tables."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {toml_value(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False)
