"""Reports of the shipped descriptors, against the audit that was made with all sources at hand."""

import json
from pathlib import Path

import pytest

from residentkv.lowering.checker import DescriptorVerdict, check_descriptors
from residentkv.lowering.reading import read_descriptors
from residentkv.lowering.report import as_json, as_text, explain
from residentkv.lowering.shipped import shipped_descriptors
from residentkv.lowering.vocabulary import Label
from tools import lowering_audit

AUDIT = json.loads(lowering_audit.GOLDEN.read_text(encoding="utf-8"))
# Rows of these rest on nothing but probes of our own runtime and traces that come with the package.
ANYWHERE = {
    "residentkv": {"residentkv-hard", "residentkv-soft", "residentkv-demotable", "residentkv-expiring"}
    | {"residentkv-best-effort", "residentkv-write-no-admit"},
    "vllm": {"vllm-held", "vllm-held-demotable", "vllm-held-expiring", "vllm-reuse-callback-adapter"}
    | {"vllm-events-joined", "vllm-write-no-admit"},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> list[DescriptorVerdict]:
    """Checked with no source at all, as on a machine that has none."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    names = ("vllm", "sglang", "lmcache", "dynamo", "kvcached", "mooncake")
    return check_descriptors(read_descriptors(shipped_descriptors()), dict.fromkeys(names, nowhere), {})


def audited(row_id: str) -> dict[str, object]:
    return next(row for part in AUDIT["descriptors"] for row in part["rows"] if row["id"] == row_id)


def test_the_audit_is_of_these_descriptors():
    """A descriptor that changed must be audited again: python tools/lowering_audit.py."""
    found = {d.path.name: d.sha256 for d in read_descriptors(shipped_descriptors())}
    assert {part["file"]: part["sha256"] for part in AUDIT["descriptors"]} == found


def test_every_row_came_out_as_it_is_declared():
    rows = [row for part in AUDIT["descriptors"] for row in part["rows"]]
    assert AUDIT["ok"]
    assert [row["id"] for row in rows if row["label"] != row["declared"]] == []
    assert len(rows) >= 45


def test_only_ours_is_native_and_public_runtimes_are_not():
    native = {part["runtime"] for part in AUDIT["descriptors"] for row in part["rows"] if row["label"] == "native"}
    assert native == {"residentkv"}


def test_every_verified_anchor_of_the_audit_is_verified():
    anchors = [anchor for part in AUDIT["descriptors"] for row in part["rows"] for anchor in row["anchors"]]
    assert len(anchors) > 140
    assert all(anchor["verified"] for anchor in anchors)


@pytest.mark.parametrize("row_id", sorted(row for rows in ANYWHERE.values() for row in rows))
def test_rows_that_need_no_source_come_out_the_same_here(row_id: str, here: list[DescriptorVerdict]):
    report = as_json(here)
    found = next(row for part in report["descriptors"] for row in part["rows"] if row["id"] == row_id)
    assert found == audited(row_id)


def test_without_sources_no_other_row_gets_any_credit(here: list[DescriptorVerdict]):
    for verdict in here:
        for row in verdict.rows:
            if row.row.id not in ANYWHERE.get(verdict.descriptor.runtime, set()):
                assert row.label is Label.UNKNOWN, row.row.id
                assert row.reasons


def test_no_row_is_better_here_than_in_the_audit(here: list[DescriptorVerdict]):
    for verdict in here:
        for row in verdict.rows:
            assert row.label.credit <= Label(audited(row.row.id)["label"]).credit


def test_text_names_what_is_overstated_and_why(here: list[DescriptorVerdict]):
    text = as_text(here)
    assert "native                 residentkv-hard: hard claims as hard_protected" in text
    assert "vllm-references" in text
    assert "DECLARED approximation" in text
    assert not as_json(here)["ok"]


def test_an_explanation_has_every_obligation_and_anchor(here: list[DescriptorVerdict]):
    (verdict,) = [row for part in here for row in part.rows if row.row.id == "vllm-held"]
    text = explain("vLLM 0.32.0", verdict)
    assert "victim_exclusion: met, adapter, enforces" in text
    assert "control (eviction_order): Without the adapter the same pool loses 50 of the 60 blocks." in text
    assert text.count("verified  traces/") == len(verdict.row.evidence)


def test_a_report_is_plain_json(here: list[DescriptorVerdict], tmp_path: Path):
    assert json.loads(json.dumps(as_json(here))) == as_json(here)
