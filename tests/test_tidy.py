"""The house rules hold in this tree, and every rule notices when it is broken."""

from pathlib import Path

import pytest

import tools.tidy as tidy


def test_tree_is_tidy():
    found = [str(finding) for finding in tidy.findings(tidy.ROOT)]
    assert not found, "\n" + "\n".join(found)


def test_tidy_reads_the_sources():
    seen = {str(path) for path in tidy.text_files(tidy.ROOT)}
    assert {"README.md", "Makefile", "csrc/core/ids.hpp", "python/residentkv/__init__.py", "tests/test_tidy.py"} <= seen
    assert not any(path.startswith((".venv", "build")) for path in seen)


PYTHON = "python/residentkv/runtime/x.py"
HEADER = "csrc/alloc/x.hpp"


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        pytest.param(PYTHON, "# TO" + "DO later\n", "leftover", id="leftover"),
        pytest.param("docs/x.md", "see /ho" + "me/me/x\n", "path of one machine", id="machine path"),
        pytest.param(PYTHON, "x = 1 \n", "white space", id="trailing space"),
        pytest.param(PYTHON, "x = 1", "no newline", id="final newline"),
        pytest.param(PYTHON, "#" * 121 + "\n", "121 columns", id="long line"),
        pytest.param(HEADER, "#pragma once\n" + "/" * 141 + "\n", "141 columns", id="long native line"),
        pytest.param(PYTHON, "x = 1\n" * 401, "401 lines", id="long file"),
        pytest.param("tests/unit/test_x.py", "x = 1\n" * 601, "601 lines", id="long test file"),
        pytest.param(HEADER, "#include <vector>\n", "#pragma once", id="unguarded header"),
        pytest.param(HEADER, '#pragma once\n#include "prefix/x.hpp"\n', "alloc may not include", id="sideways"),
        pytest.param(HEADER, '#pragma once\n#include "../core/x.hpp"\n', "alloc may not include", id="relative"),
        pytest.param(HEADER, "#pragma once\n#include <pybind11/pybind11.h>\n", "bindings only", id="python below"),
        pytest.param(
            "python/residentkv/contract/x.py", "from residentkv import _core\n", "contract does not", id="native import"
        ),
        pytest.param(PYTHON, 'import os\n\nos.environ["X"]\n', "only cli/", id="environment"),
    ],
)
def test_every_rule_can_fail(path: str, text: str, message: str):
    found = [finding for rule in tidy.RULES for finding in rule(Path(path), text)]
    assert [message in finding.message for finding in found] == [True]


def test_stray_top_level_entry_is_found():
    assert [finding.path for finding in tidy.check_top_level(frozenset({"csrc", ".ci", "scratch"}))] == [
        Path("scratch")
    ]
