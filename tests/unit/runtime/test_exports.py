import ast
import subprocess
import sys
from pathlib import Path

import pytest

import residentkv

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ast.parse(Path(residentkv.__file__).read_text())


def imported_for_types() -> dict[str, str]:
    """Public names that the TYPE_CHECKING block imports, with their modules."""
    (block,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module.removeprefix("residentkv.") for node in imports for alias in node.names}


def test_the_lists_of_names_agree():
    assert imported_for_types() == residentkv._MODULE_OF
    assert residentkv.__all__ == list(residentkv._MODULE_OF)


def test_every_name_can_be_had():
    for name in residentkv.__all__:
        assert getattr(residentkv, name) is not None
    assert set(residentkv.__all__) <= set(dir(residentkv))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'residentkv' has no attribute 'nothing'"):
        residentkv.nothing  # noqa: B018 - the access is the test


def test_importing_sinks_and_errors_needs_neither_numpy_nor_the_core():
    code = (
        "import sys; from residentkv import ClaimSpec, ContractError, JsonlSink, read_trace; "
        "print(sorted({'numpy', 'torch', 'residentkv._core'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "[]\n"


def test_the_quickstart_runs_and_tells_the_story():
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples/quickstart.py")], check=True, capture_output=True, text=True
    )
    assert result.stdout.splitlines() == ["materialized", "960", "Refused ('system-prompt',) 52"]
