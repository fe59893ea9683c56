"""How what is installed differs from what was audited, anchor by anchor."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from residentkv.contract.errors import ConfigError
from residentkv.lowering.descriptor import Descriptor, Distribution, Source, SourceAnchor
from residentkv.lowering.reading import read_descriptor
from residentkv.lowering.shipped import shipped_descriptors
from residentkv.lowering.sources import FolderTree, SourceTree, UnverifiedError, find_distribution
from residentkv.lowering.symbols import defines_symbol
from residentkv.lowering.verification import require_lines

STATES: Final = ("same", "moved", "changed", "gone")


@dataclass(frozen=True, slots=True)
class Difference:
    """One audited place in what is installed. `state`: same | moved | changed | gone."""

    rows: tuple[str, ...]
    anchor: SourceAnchor
    state: str
    told: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One source of a descriptor against an installation."""

    source: Source
    found: str
    places: tuple[Difference, ...]

    @property
    def is_same(self) -> bool:
        """Whether it is the audited version with every audited line in place."""
        origin = self.source.origin
        return (
            isinstance(origin, Distribution)
            and self.found == str(origin)
            and all(place.state == "same" for place in self.places)
        )

    def as_fields(self) -> dict[str, object]:
        """The comparison as JSON values."""
        return {
            "audited": str(self.source.origin),
            "found": self.found,
            "same": self.is_same,
            "places": [
                {"rows": list(place.rows), "anchor": str(place.anchor), "state": place.state, "told": place.told}
                for place in self.places
            ],
        }

    def as_lines(self) -> list[str]:
        """The comparison for people: what differs, and the rows that rest on it."""
        counts = ", ".join(f"{sum(place.state == state for place in self.places)} {state}" for state in STATES)
        lines = [f"audited {self.source.origin}, found {self.found}: {counts}"]
        for place in self.places:
            if place.state != "same":
                lines.append(f"  {place.state:<8} {place.anchor}: {place.told}")
                lines.append(f"           rows: {', '.join(place.rows)}")
        return lines


def compare_installed(runtime: str, folder: Path | None) -> list[Comparison]:
    """Compare what is installed with every package that the shipped descriptors of `runtime` were read in.

    Raises
    ------
    ConfigError : no shipped descriptor is about `runtime`, or it is not installed.
    """
    descriptors = [read_descriptor(path) for path in shipped_descriptors()]
    wanted = [descriptor for descriptor in descriptors if descriptor.runtime == runtime]
    if not wanted:
        known = ", ".join(sorted({descriptor.runtime for descriptor in descriptors}))
        raise ConfigError(f"no shipped descriptor is about {runtime!r}; there are {known}")
    try:
        return [
            compare(descriptor, source, folder)
            for descriptor in wanted
            for source in descriptor.sources.values()
            if isinstance(source.origin, Distribution) and source.backend
        ]
    except UnverifiedError as error:
        raise ConfigError(str(error)) from None


def compare(descriptor: Descriptor, source: Source, installed: Path | None) -> Comparison:
    """Compare every source anchor of `source` with an installation.

    Parameters
    ----------
    installed : folder that packages are installed in; None is this interpreter's.

    Raises
    ------
    UnverifiedError : the package is not there under its own name or another that it is released under.
    """
    if not isinstance(source.origin, Distribution):
        raise UnverifiedError(f"{source.origin} is a repository, not a package that could be installed")
    folder, found = find_distribution([source.origin.package, descriptor.runtime], installed)
    tree = FolderTree(folder)
    rows: dict[SourceAnchor, list[str]] = {}
    for row in descriptor.rows:
        for evidence in row.evidence:
            for anchor in evidence.anchors:
                if isinstance(anchor, SourceAnchor) and anchor.source == source.name:
                    names = rows.setdefault(anchor, [])
                    if row.id not in names:
                        names.append(row.id)
    places = tuple(_difference(tree, anchor, tuple(names)) for anchor, names in rows.items())
    return Comparison(source, str(found), places)


def _difference(tree: SourceTree, anchor: SourceAnchor, rows: tuple[str, ...]) -> Difference:
    try:
        content = tree.read(anchor.file)
    except UnverifiedError as error:
        return Difference(rows, anchor, "gone", str(error))
    try:
        require_lines(anchor, content)
    except UnverifiedError as error:
        told = str(error)
    else:
        return Difference(rows, anchor, "same", "")
    if not defines_symbol(anchor.file, content.decode("utf-8", "replace"), anchor.symbol):
        return Difference(rows, anchor, "gone", f"no {anchor.symbol} in {anchor.file}")
    moved = _moved_to(anchor, content)
    if moved is not None:
        return Difference(rows, anchor, "moved", f"now at lines {moved}-{moved + anchor.last - anchor.first}")
    return Difference(rows, anchor, "changed", told)


def _moved_to(anchor: SourceAnchor, content: bytes) -> int | None:
    """First line of the same lines elsewhere in the file, None if they are nowhere. O(lines * length)."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    length = anchor.last - anchor.first + 1
    for start in range(len(lines) - length + 1):
        if hashlib.sha256(b"".join(lines[start : start + length])).hexdigest() == anchor.sha256:
            return start + 1
    return None
