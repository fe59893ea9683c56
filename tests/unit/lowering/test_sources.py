"""Sources answer with the bytes of the version they really are, or not at all."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from residentkv.lowering import sources
from residentkv.lowering.bad.case import source_folder
from residentkv.lowering.descriptor import Distribution, Repository
from residentkv.lowering.sources import FolderTree, UnverifiedError, find_distribution, open_source

TEMPTING = Distribution("tempting-kv", "1.0")
FILE = "tempting_kv/cache.py"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    ended = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return ended.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("x = 1\n")
    (folder / "link.py").symlink_to("/etc/hostname")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder, git(folder, "rev-parse", "HEAD")


def test_a_folder_answers_its_version():
    assert b"class PrefixCache" in open_source(TEMPTING, source_folder()).read(FILE)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (Distribution("tempting-kv", "1.1"), "wanted tempting-kv 1.1, found version 1.0"),
        (Distribution("other", "1.0"), "does not hold other"),
    ],
)
def test_another_version_is_not_it(origin: Distribution, message: str):
    with pytest.raises(UnverifiedError, match=message):
        open_source(origin, source_folder())


def test_a_wheel_is_read_without_unpacking(tmp_path: Path):
    wheel = tmp_path / "tempting_kv-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted(source_folder().rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(source_folder()))
    tree = open_source(TEMPTING, wheel)
    assert tree.read(FILE) == (source_folder() / FILE).read_bytes()
    with pytest.raises(UnverifiedError, match="is not in the source"):
        tree.read("tempting_kv/none.py")
    with pytest.raises(UnverifiedError, match="found version 1.0"):
        open_source(Distribution("tempting-kv", "2.0"), wheel)


def test_something_else_is_no_wheel(tmp_path: Path):
    (tmp_path / "x.whl").write_bytes(b"not a zip")
    with pytest.raises(UnverifiedError, match="is no wheel"):
        open_source(TEMPTING, tmp_path / "x.whl")
    with pytest.raises(UnverifiedError, match="neither a folder nor a wheel"):
        open_source(TEMPTING, tmp_path / "missing")


def test_an_installed_distribution_is_found():
    found = open_source(Distribution("jsonschema", sources.distribution("jsonschema").version), None)
    assert b"def validate" in found.read("jsonschema/validators.py")
    with pytest.raises(UnverifiedError, match="is not installed here"):
        open_source(Distribution("no-such-package-at-all", "1"), None)


def test_a_link_out_of_the_tree_is_not_followed(tmp_path: Path):
    outside = tmp_path / "outside.py"
    outside.write_text("secret = 1\n")
    inside = tmp_path / "tree"
    inside.mkdir()
    (inside / "link.py").symlink_to(outside)
    (inside / "folder").symlink_to(tmp_path)
    for file in ("link.py", "folder/outside.py", "../outside.py"):
        with pytest.raises(UnverifiedError, match="leads out of its source"):
            FolderTree(inside).read(file)


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources, "MAX_SOURCE_BYTES", 10)
    (tmp_path / "big.py").write_text("x" * 11)
    with pytest.raises(UnverifiedError, match="more than 10 bytes"):
        FolderTree(tmp_path).read("big.py")


def test_a_commit_is_read_whatever_lies_in_the_work_tree(repository: tuple[Path, str]):
    folder, commit = repository
    (folder / "a.py").write_text("x = 2\n")
    origin = Repository("example.org/a", commit)
    assert open_source(origin, folder).read("a.py") == b"x = 1\n"
    assert open_source(origin, folder / ".git").read("a.py") == b"x = 1\n"


def test_a_repository_without_the_commit_is_not_it(repository: tuple[Path, str], tmp_path: Path):
    with pytest.raises(UnverifiedError, match="git:"):
        open_source(Repository("example.org/a", "0" * 40), repository[0])
    with pytest.raises(UnverifiedError, match="git:"):
        open_source(Repository("example.org/a", repository[1]), tmp_path)
    with pytest.raises(UnverifiedError, match="is not here"):
        open_source(Repository("example.org/a", repository[1]), None)


@pytest.mark.parametrize("file", ["missing.py", "link.py", "--output=x", ":(glob)**"])
def test_a_commit_answers_plain_files_only(repository: tuple[Path, str], file: str):
    with pytest.raises(UnverifiedError, match="is not in the source"):
        open_source(Repository("example.org/a", repository[1]), repository[0]).read(file)


def test_settings_of_a_repository_start_nothing(repository: tuple[Path, str], tmp_path: Path):
    folder, commit = repository
    trap, sprung = tmp_path / "trap.sh", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\n")
    trap.chmod(0o755)
    for setting in ("core.fsmonitor", "core.sshCommand", "core.pager", "diff.external", "core.hooksPath"):
        git(folder, "config", setting, str(trap))
    git(folder, "config", "core.repositoryFormatVersion", "1")
    git(folder, "config", "extensions.partialClone", "origin")
    git(folder, "config", "protocol.ext.allow", "always")
    git(folder, "config", "remote.origin.url", f"ext::{trap}")
    git(folder, "config", "remote.origin.promisor", "true")
    tree = open_source(Repository("example.org/a", commit), folder)
    assert tree.read("a.py") == b"x = 1\n"
    with pytest.raises(UnverifiedError):
        open_source(Repository("example.org/a", "1" * 40), folder)
    assert not sprung.exists()


def test_a_distribution_is_found_under_any_of_its_names():
    folder, found = find_distribution(["no-such-name", "tempting-kv"], source_folder())
    assert (folder, found) == (source_folder(), TEMPTING)
    with pytest.raises(UnverifiedError, match="a or b is not installed"):
        find_distribution(["a", "b"], source_folder())
