"""Verifies anchors. An anchor holds, with what it shows, or it does not, with the reason; there is nothing between.

One `Verifier` serves one check: each source is opened once, each file read once, each probe run once.
"""

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from residentkv.conformance.gates import UnreadableTrace
from residentkv.conformance.gates.trace_lines import read_events
from residentkv.lowering.descriptor import Anchor, Descriptor, ProbeAnchor, Row, SourceAnchor, TraceAnchor
from residentkv.lowering.gates import GATES, MAX_TRACE_BYTES, GateVerdict
from residentkv.lowering.probes import PROBES
from residentkv.lowering.sources import SourceTree, UnverifiedError, open_source
from residentkv.lowering.symbols import require_symbol
from residentkv.lowering.vocabulary import Depth, Role

# What every event of a trace must say about where it comes from, beside the fields of contract.md section 6.
PROVENANCE: Final = ("runtime", "runtime_version", "runtime_mode", "evidence_depth", "evidence_role")


@dataclass(frozen=True, slots=True)
class Executed:
    """What a run shows: the gate's verdict, at the depth and in the role in which it was brought about."""

    gate: str
    verdict: GateVerdict
    depth: Depth
    role: Role
    depth_is_certain: bool  # the depth comes from the registry of probes, not from the trace's own words


@dataclass(frozen=True, slots=True)
class Checked:
    """One anchor, verified or not. `executed` is None for source anchors."""

    anchor: Anchor
    reason: str | None
    executed: Executed | None = None
    from_backend: bool = False

    @property
    def holds(self) -> bool:
        """Whether it was verified."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class _HashedTrace:
    """A trace's hash, and our copy of exactly those bytes."""

    sha256: str
    copy: Path


class Verifier:
    """Verifies the anchors of descriptors.

    Parameters
    ----------
    sources : where the user has a source, by its name in descriptors.
    pythons : interpreters that have a runtime, by the runtime's name.
    """

    def __init__(self, sources: Mapping[str, Path], pythons: Mapping[str, Path]) -> None:
        self._sources = sources
        self._pythons = pythons
        self._trees: dict[object, SourceTree | UnverifiedError] = {}
        self._files: dict[tuple[object, str], bytes] = {}
        self._runs: dict[str, tuple[str, Path] | UnverifiedError] = {}
        self._traces: dict[Path, _HashedTrace] = {}
        self._origins: dict[Path, dict[str, Any]] = {}
        self._verdicts: dict[tuple[Path, str, str | None], GateVerdict] = {}
        self._folders: list[tempfile.TemporaryDirectory[str]] = []

    def close(self) -> None:
        """Remove what probes left behind."""
        for folder in self._folders:
            folder.cleanup()

    def check(self, anchor: Anchor, row: Row, descriptor: Descriptor) -> Checked:
        """Verify one anchor of a row."""
        try:
            if isinstance(anchor, SourceAnchor):
                self._check_source(anchor, descriptor)
                return Checked(anchor, None, from_backend=descriptor.sources[anchor.source].backend)
            if isinstance(anchor, TraceAnchor):
                return Checked(anchor, None, self._check_trace(anchor, row, descriptor))
            return Checked(anchor, None, self._check_probe(anchor, row, descriptor))
        except UnverifiedError as error:
            return Checked(anchor, str(error))

    def _check_source(self, anchor: SourceAnchor, descriptor: Descriptor) -> None:
        source = descriptor.sources[anchor.source]
        tree = self._trees.get(source)
        if tree is None:
            try:
                tree = open_source(source.origin, self._sources.get(source.name))
            except UnverifiedError as error:
                tree = error
            self._trees[source] = tree
        if isinstance(tree, UnverifiedError):
            raise tree
        key = (source, anchor.file)
        if key not in self._files:
            self._files[key] = tree.read(anchor.file)
        require_lines(anchor, self._files[key])

    def _check_trace(self, anchor: TraceAnchor, row: Row, descriptor: Descriptor) -> Executed:
        root = descriptor.path.resolve().parent
        path = (root / anchor.file).resolve()
        if not path.is_relative_to(root):
            raise UnverifiedError(f"{anchor.file} leads out of the folder of its descriptor")
        trace = self._trace(path, anchor.file)
        if trace.sha256 != anchor.sha256:
            raise UnverifiedError(f"{anchor.file} has SHA-256 {trace.sha256[:12]}, not {anchor.sha256[:12]}")
        said = self._provenance(trace.copy)
        wanted = {
            "runtime": descriptor.runtime,
            "runtime_version": descriptor.version,
            "runtime_mode": row.runtime_mode,
        }
        for field, value in wanted.items():
            if said[field] != value:
                raise UnverifiedError(f"the trace is of {field} {said[field]!r}, not {value!r}")
        try:
            depth, role = Depth(said["evidence_depth"]), Role(said["evidence_role"])
        except ValueError as error:
            raise UnverifiedError(f"the trace's provenance is unknown: {error}") from None
        verdict = self._judged(anchor.gate, trace.copy, anchor.claim)
        _require_verdict(anchor, verdict)
        return Executed(anchor.gate, verdict, depth, role, depth_is_certain=False)

    def _trace(self, path: Path, file: str) -> "_HashedTrace":
        """The trace as it was when it was first asked for: what is judged is what was hashed."""
        if path not in self._traces:
            if not path.is_file():
                raise UnverifiedError(f"{file} is missing")
            if path.stat().st_size > MAX_TRACE_BYTES:
                raise UnverifiedError(f"{file} has more than {MAX_TRACE_BYTES} bytes")
            content = path.read_bytes()
            copy = self._new_folder("trace") / path.name
            copy.write_bytes(content)
            self._traces[path] = _HashedTrace(hashlib.sha256(content).hexdigest(), copy)
        return self._traces[path]

    def _provenance(self, path: Path) -> dict[str, Any]:
        if path not in self._origins:
            self._origins[path] = _provenance(path)
        return self._origins[path]

    def _judged(self, gate: str, path: Path, claim: str | None) -> GateVerdict:
        key = (path, gate, claim)
        if key not in self._verdicts:
            try:
                self._verdicts[key] = GATES[gate].judge(path, claim)
            except UnreadableTrace as error:
                raise UnverifiedError(_without_folder(error, path)) from None
        return self._verdicts[key]

    def _check_probe(self, anchor: ProbeAnchor, row: Row, descriptor: Descriptor) -> Executed:
        probe = PROBES[anchor.probe]
        if probe.runtime != descriptor.runtime:
            raise UnverifiedError(f"probe {anchor.probe} drives {probe.runtime}, not {descriptor.runtime}")
        if probe.runtime_mode != row.runtime_mode:
            raise UnverifiedError(f"probe {anchor.probe} runs in mode {probe.runtime_mode!r}, not {row.runtime_mode!r}")
        run = self._run(anchor.probe)
        if isinstance(run, UnverifiedError):
            raise run
        version, folder = run
        if version != descriptor.version:
            raise UnverifiedError(f"the probe met {probe.runtime} {version}, not {descriptor.version}")
        path = folder / f"{anchor.case}.jsonl"
        if not path.is_file():
            raise UnverifiedError(f"probe {anchor.probe} has no case {anchor.case!r}")
        verdict = self._judged(anchor.gate, path, None)
        _require_verdict(anchor, verdict)
        return Executed(anchor.gate, verdict, probe.depth, probe.role, depth_is_certain=True)

    def _run(self, name: str) -> tuple[str, Path] | UnverifiedError:
        if name not in self._runs:
            folder = self._new_folder(name)
            probe = PROBES[name]
            try:
                self._runs[name] = (probe.run(self._pythons.get(probe.runtime), folder), folder)
            except UnverifiedError as error:
                self._runs[name] = error
        return self._runs[name]

    def _new_folder(self, name: str) -> Path:
        folder = tempfile.TemporaryDirectory(prefix=f"residentkv-{name}-")
        self._folders.append(folder)
        return Path(folder.name)


def require_lines(anchor: SourceAnchor, content: bytes) -> None:
    """Raise UnverifiedError unless the lines are there, have the hash, and are code of the symbol. O(file)."""
    num_lines = content.count(b"\n") + (not content.endswith(b"\n"))
    if anchor.last > num_lines:
        raise UnverifiedError(f"{anchor.file} has {num_lines} lines, not {anchor.last}")
    found = lines_sha256(content, anchor.first, anchor.last)
    if found != anchor.sha256:
        raise UnverifiedError(f"lines {anchor.first}-{anchor.last} have SHA-256 {found[:12]}, not {anchor.sha256[:12]}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UnverifiedError(f"{anchor.file} is not text in UTF-8") from None
    require_symbol(anchor.file, text, anchor.first, anchor.last, anchor.symbol)


def lines_sha256(content: bytes, first: int, last: int) -> str:
    """Hash lines [first, last], counted from 1, each with its line feed. Carriage returns belong to their line."""
    lines = [line + b"\n" for line in content.split(b"\n")[first - 1 : last]]
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _require_verdict(anchor: TraceAnchor | ProbeAnchor, verdict: GateVerdict) -> None:
    if anchor.passes and not verdict.passed:
        raise UnverifiedError(f"gate {anchor.gate} fails: {', '.join(verdict.failing)}")
    if not anchor.passes and verdict.passed:
        raise UnverifiedError(f"gate {anchor.gate} passes, the anchor says that it fails")
    holding = [name for name in anchor.fails if name not in verdict.failing]
    if holding:
        raise UnverifiedError(f"gate {anchor.gate} does not fail by {', '.join(holding)}")


def _provenance(path: Path) -> dict[str, Any]:
    """What every event says alike about the trace's origin."""
    said: dict[str, Any] | None = None
    try:
        for _, event in read_events(path):
            here = {field: event.get(field) for field in PROVENANCE}
            if not all(isinstance(value, str) for value in here.values()):
                raise UnverifiedError(f"the trace does not say where it comes from ({', '.join(PROVENANCE)})")
            if said is not None and here != said:
                raise UnverifiedError("events of one trace come from different runtimes")
            said = here
    except UnreadableTrace as error:
        raise UnverifiedError(_without_folder(error, path)) from None
    if said is None:
        raise UnverifiedError("the trace is empty")
    return said


def _without_folder(error: UnreadableTrace, path: Path) -> str:
    """The message about the user's file, not about our copy of it."""
    return str(error).replace(f"{path.parent}/", "")
