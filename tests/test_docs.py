"""The documents say what the code says: examples, commands, links, tables."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from residentkv.conformance.litmus import ALL as LITMUS
from residentkv.contract.claim import NEXT, PERMITTED_ACTIONS, ClaimState
from residentkv.contract.decision import ConflictRecord
from residentkv.contract.events import COMMON_FIELDS, EVENT_NAMES
from tests.planted.bugs import BUGS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
CONTRACT = (ROOT / "docs/contract.md").read_text()
INVARIANTS = (ROOT / "docs/invariants.md").read_text()


def section(text: str, number: int) -> str:
    """Return section `number` of docs/contract.md."""
    return text.split(f"\n## {number}. ")[1].split("\n## ", maxsplit=1)[0]


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of every table row in `text`, without header rules."""
    rows = [line.strip().strip("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows]
    return [row for row in cells if not set("".join(row)) <= set("-: ")]


def test_readme_example_is_the_quickstart():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks == [(ROOT / "examples/quickstart.py").read_text()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_resolve(document: Path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", document.read_text(), flags=re.MULTILINE))
    assert named <= targets


def test_ci_runs_the_readme_test_command():
    assert "make test" in (ROOT / ".ci/run").read_text().splitlines()


def test_life_cycle_is_the_transition_table():
    written = {}
    for line in section(CONTRACT, 3).splitlines():
        if match := re.fullmatch(r" {4}(\w+) +-> ([\w| ]+)", line):
            written[match[1]] = set(match[2].split(" | "))
    assert written == {state.value: {following.value for following in NEXT[state].values()} for state in NEXT}
    final = {state.value for state in ClaimState if state.is_final}
    assert "`" + ", ".join(sorted(final, key=section(CONTRACT, 3).find)) + "` end the" in section(CONTRACT, 3)


def test_mode_table_is_what_modes_permit():
    written = {row[0].strip("`"): row[2] for row in table_rows(section(CONTRACT, 4))[1:]}
    permitted = {
        mode.value: ", ".join(action.value for action in actions) or "nothing"
        for mode, actions in PERMITTED_ACTIONS.items()
    }
    assert written == permitted


def test_conflict_table_names_every_field_of_the_record():
    written = re.findall(r"`(\w+)`", " ".join(row[0] for row in table_rows(section(CONTRACT, 5))[5:]))
    assert written == [field.name for field in fields(ConflictRecord)]


def test_every_event_and_common_field_is_described():
    text = re.sub(r"(resident_claim|active_request)_(\w+)`?((?:, _\w+)+)", expand, section(CONTRACT, 6))
    assert [name for name in (*EVENT_NAMES, *COMMON_FIELDS) if name not in text] == ["active_live_bounded"]


def expand(match: re.Match[str]) -> str:
    """Write `resident_claim_a, _b` out as `resident_claim_a, resident_claim_b`."""
    return f"{match[1]}_{match[2]}" + match[3].replace(" _", f" {match[1]}_")


def test_litmus_table_is_the_suite():
    assert [row[0] for row in table_rows(section(CONTRACT, 7))[1:]] == [litmus.id for litmus in LITMUS]


def test_invariants_are_the_ones_asserted():
    asserted: dict[str, set[str]] = {}
    for path in (ROOT / "csrc").rglob("*.?pp"):
        for number in re.findall(r'"(INV-\d+)', path.read_text()):
            asserted.setdefault(number, set()).add(f"csrc/{path.relative_to(ROOT / 'csrc')}")
    documented = {row[0]: row for row in table_rows(INVARIANTS) if row[0].startswith("INV-")}
    assert set(asserted) <= set(documented)
    for number, row in documented.items():
        places = set(re.findall(r"`(csrc/[\w./]+)`", row[2]))
        assert len(places) >= 1, f"{number} is asserted nowhere"
        assert places <= asserted.get(number, set()), (
            f"{number} is not asserted in {places - asserted.get(number, set())}"
        )


def test_tests_named_by_the_documents_exist():
    for document in DOCUMENTS:
        for path, name in re.findall(r"`(tests/[\w/]+\.(?:py|cpp))(?:::(\w+))?`", document.read_text()):
            assert (ROOT / path).exists(), f"{document.name}: {path}"
            assert name in (ROOT / path).read_text(), f"{document.name}: {path}::{name}"


def test_planted_bugs_named_by_the_documents_exist():
    named = set(re.findall(r"planted: `(\w+)`", INVARIANTS))
    assert named
    assert named <= {bug.name for bug in BUGS}


def test_every_invariant_names_a_test():
    for row in table_rows(INVARIANTS)[1:]:
        assert re.search(r"`tests/[\w/]+\.\w+::\w+`", row[3]), row[0]
