"""A runtime is found by name or by MODULE:FACTORY; anything else is a setting to correct."""

import pytest

from residentkv.conformance.runtimes import RUNTIMES, load_factory
from residentkv.contract.errors import ConfigError
from residentkv.runtime import conformance_adapter


def test_native_is_registered():
    assert load_factory("native") is conformance_adapter.create


def test_a_factory_of_ones_own():
    assert load_factory("collections:OrderedDict").__name__ == "OrderedDict"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nativ", "neither native nor micro nor MODULE:FACTORY"),
        ("", "neither native"),
        ("module:", "neither native"),
        (":factory", "neither native"),
        ("no_such_module_here:create", "no module no_such_module_here"),
        ("collections.no_such_part:create", "no module collections.no_such_part"),
        ("collections:no_such_name", "no callable no_such_name"),
        ("string:digits", "no callable digits"),
    ],
)
def test_what_is_no_runtime(name, message):
    with pytest.raises(ConfigError, match=message):
        load_factory(name)


def test_a_missing_requirement_is_not_a_missing_runtime(tmp_path, monkeypatch):
    (tmp_path / "adapter_of_mine.py").write_text("import no_such_requirement\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_requirement"):
        load_factory("adapter_of_mine:create")


def test_names_map_to_factories():
    assert all(factory.count(":") == 1 for factory in RUNTIMES.values())
