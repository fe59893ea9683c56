"""What a descriptor says, as values. Nothing here is verified; `reading.py` makes these, `checker.py` judges them."""

from dataclasses import dataclass
from pathlib import Path

from residentkv.contract.errors import ConfigError
from residentkv.lowering.relation import Mechanism
from residentkv.lowering.vocabulary import Depth, Label, Mode, Obligation, Stance


class DescriptorError(ConfigError):
    """A descriptor, a trace or a source can not be read as what it should be. No label was given."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A released package at one version."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit, 40 hexadecimal digits."""

    repository: str
    commit: str

    def __str__(self) -> str:
        return f"{self.repository}@{self.commit[:12]}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where source anchors of this `name` were read. `backend`: it is the runtime's own code, not an adapter's."""

    name: str
    origin: Distribution | Repository
    backend: bool


@dataclass(frozen=True, slots=True)
class SourceAnchor:
    """Lines [first, last] of a file, counted from 1, both included; `sha256` is of those lines with their line ends."""

    source: str
    file: str
    first: int
    last: int
    symbol: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.source}:{self.file}:{self.first}-{self.last} {self.symbol}"


@dataclass(frozen=True, slots=True)
class TraceAnchor:
    """A trace beside the descriptor, the gate that reads it and the verdict it gives.

    Parameters
    ----------
    passes : the verdict.
    fails : names that the gate must find failing, of a trace that does not pass.
    claim : the claim to judge, for gates that judge one; None lets the gate choose.
    """

    file: str
    sha256: str
    gate: str
    passes: bool
    fails: tuple[str, ...]
    claim: str | None

    def __str__(self) -> str:
        return f"{self.file} read by {self.gate}"


@dataclass(frozen=True, slots=True)
class ProbeAnchor:
    """One case of a probe that ships with this package, the gate that reads its trace and the verdict it gives."""

    probe: str
    case: str
    gate: str
    passes: bool
    fails: tuple[str, ...]

    def __str__(self) -> str:
        return f"probe {self.probe} case {self.case} read by {self.gate}"


Anchor = SourceAnchor | TraceAnchor | ProbeAnchor


@dataclass(frozen=True, slots=True)
class Evidence:
    """One statement about one obligation. It counts only if every anchor is verified."""

    obligation: Obligation
    stance: Stance
    by: Mechanism
    depth: Depth
    says: str
    anchors: tuple[Anchor, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One feature in one runtime mode, mapped onto one claim mode.

    Parameters
    ----------
    runtime_mode : the configuration the row is about, as the runtime's own evidence names it.
    unavailable : why there is no evidence to check; None if there is.
    """

    id: str
    feature: str
    mode: Mode
    mechanism: Mechanism
    depth: Depth
    runtime_mode: str
    declared: Label
    summary: str
    evidence: tuple[Evidence, ...]
    unavailable: str | None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One runtime at one version. `path` and `sha256` are of the file it came from."""

    path: Path
    sha256: str
    runtime: str
    title: str
    version: str
    sources: dict[str, Source]
    rows: tuple[Row, ...]
