"""Sources that anchors are verified against. Each answers with the bytes of one file at the version it really is.

A file is never read through a link that leaves the tree, and a repository is read by its objects: the bytes are those
of the commit whatever lies in the work tree.
"""

import re
import subprocess
import zipfile
from collections.abc import Sequence
from email.parser import HeaderParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, Protocol

from residentkv.lowering.descriptor import Distribution, Repository

MAX_SOURCE_BYTES: Final = 8 << 20
_GIT_TIMEOUT_SECONDS: Final = 30
# A repository that somebody hands us may carry settings of its own; none of them may start a program or a transfer.
_GIT_ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}


class UnverifiedError(Exception):
    """An anchor does not hold, with the reason. Never leaves this package."""


class SourceTree(Protocol):
    """One source at one version."""

    def read(self, file: str) -> bytes:
        """Return the file's bytes. Raises UnverifiedError if it is missing, too large or not inside the tree."""


class FolderTree:
    """An unpacked wheel, or a folder that packages are installed in."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def read(self, file: str) -> bytes:
        """Return the file's bytes."""
        path = (self._root / file).resolve()
        if not path.is_relative_to(self._root):
            raise UnverifiedError(f"{file} leads out of its source")
        if not path.is_file():
            raise UnverifiedError(f"{file} is not in the source")
        if path.stat().st_size > MAX_SOURCE_BYTES:
            raise UnverifiedError(f"{file} has more than {MAX_SOURCE_BYTES} bytes")
        return path.read_bytes()


class WheelTree:
    """A wheel file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, file: str) -> bytes:
        """Return the file's bytes."""
        try:
            with zipfile.ZipFile(self._path) as wheel:
                if wheel.getinfo(file).file_size > MAX_SOURCE_BYTES:
                    raise UnverifiedError(f"{file} has more than {MAX_SOURCE_BYTES} bytes")
                return wheel.read(file)
        except KeyError:
            raise UnverifiedError(f"{file} is not in the source") from None
        except zipfile.BadZipFile as error:
            raise UnverifiedError(f"{self._path.name} is no wheel: {error}") from None


class CommitTree:
    """One commit of a git repository, checked out or bare."""

    def __init__(self, folder: Path, commit: str) -> None:
        self._folder = folder
        self._commit = commit
        if self._git("cat-file", "-t", commit).strip() != b"commit":
            raise UnverifiedError(f"{folder} does not hold commit {commit[:12]}")

    def read(self, file: str) -> bytes:
        """Return the file's bytes."""
        entry = self._git("ls-tree", "-l", self._commit, "--", f":(top,literal){file}").decode("utf-8", "replace")
        found = re.match(r"(\d+) blob ([0-9a-f]{40}) +(\d+)\t", entry)
        if found is None or found.group(1) not in ("100644", "100755"):
            raise UnverifiedError(f"{file} is not in the source")
        if int(found.group(3)) > MAX_SOURCE_BYTES:
            raise UnverifiedError(f"{file} has more than {MAX_SOURCE_BYTES} bytes")
        return self._git("cat-file", "blob", found.group(2))

    def _git(self, *arguments: str) -> bytes:
        # A bare folder is its own git directory; a checkout has one. Naming it keeps git from searching upwards.
        inside = self._folder / ".git"
        command = ["git", f"--git-dir={inside if inside.exists() else self._folder}", "-c", "safe.directory=*"]
        try:
            ended = subprocess.run(  # noqa: S603 - git itself, the arguments are checked by the schema
                [*command, *arguments],
                env=_GIT_ENVIRONMENT,
                capture_output=True,
                check=False,
                timeout=_GIT_TIMEOUT_SECONDS,
            )
        except FileNotFoundError:
            raise UnverifiedError("git is not installed") from None
        except subprocess.TimeoutExpired:
            raise UnverifiedError(f"git took more than {_GIT_TIMEOUT_SECONDS} s") from None
        if ended.returncode != 0:
            message = ended.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
            raise UnverifiedError(f"git: {message[-1]}")
        return ended.stdout


def open_source(origin: Distribution | Repository, given: Path | None) -> SourceTree:
    """Open what an anchor was read in.

    Parameters
    ----------
    given : where the user has it; None looks for a distribution in this interpreter.

    Raises
    ------
    UnverifiedError : it is not there, or it is another version or commit.
    """
    if isinstance(origin, Repository):
        if given is None:
            raise UnverifiedError(f"{origin} is not here: give a checkout with --source")
        return CommitTree(given, origin.commit)
    if given is None:
        return _installed(origin)
    if given.is_file():
        _require(origin, _wheel_metadata(given))
        return WheelTree(given)
    if not given.is_dir():
        raise UnverifiedError(f"{given} is neither a folder nor a wheel")
    _require(origin, _folder_metadata(given, origin.package))
    return FolderTree(given)


def find_distribution(packages: Sequence[str], folder: Path | None) -> tuple[Path, Distribution]:
    """Find the first of `packages` that is there, whatever its version, and the folder its files lie in.

    Parameters
    ----------
    folder : that packages are installed in; None is this interpreter's.

    Raises
    ------
    UnverifiedError : none of them is there.
    """
    for package in packages:
        try:
            if folder is not None:
                return folder, Distribution(*_folder_metadata(folder, package))
            found = distribution(package)
        except (PackageNotFoundError, UnverifiedError):
            continue
        return Path(str(found.locate_file(""))), Distribution(package, found.version)
    raise UnverifiedError(f"{' or '.join(packages)} is not installed in {folder or 'this interpreter'}")


def _installed(origin: Distribution) -> SourceTree:
    try:
        found = distribution(origin.package)
    except PackageNotFoundError:
        raise UnverifiedError(f"{origin} is not installed here: install it, or give it with --source") from None
    _require(origin, (origin.package, found.version))
    return FolderTree(Path(str(found.locate_file(""))))


def _require(origin: Distribution, found: tuple[str, str]) -> None:
    name, version = found
    if _normal(name) != _normal(origin.package):
        raise UnverifiedError(f"wanted {origin}, found {name} {version}")
    if version != origin.version:
        raise UnverifiedError(f"wanted {origin}, found version {version}")


def _wheel_metadata(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            if len(names) != 1 or wheel.getinfo(names[0]).file_size > MAX_SOURCE_BYTES:
                raise UnverifiedError(f"{path.name} is no wheel: no single METADATA")
            return _name_and_version(wheel.read(names[0]))
    except zipfile.BadZipFile as error:
        raise UnverifiedError(f"{path.name} is no wheel: {error}") from None


def _folder_metadata(folder: Path, package: str) -> tuple[str, str]:
    for path in sorted(folder.glob("*.dist-info/METADATA")):
        name, version = _name_and_version(path.read_bytes()[:MAX_SOURCE_BYTES])
        if _normal(name) == _normal(package):
            return name, version
    raise UnverifiedError(f"{folder} does not hold {package}: no METADATA of it")


def _name_and_version(metadata: bytes) -> tuple[str, str]:
    headers = HeaderParser().parsestr(metadata.decode("utf-8", "replace"), headersonly=True)
    return headers.get("Name", "?"), headers.get("Version", "?")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
