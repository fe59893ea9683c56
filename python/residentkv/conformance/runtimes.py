"""Finding the runtime to judge: a registered name, or MODULE:FACTORY."""

import importlib
from collections.abc import Mapping
from typing import Final, cast

from residentkv.contract.errors import ConfigError
from residentkv.contract.protocol import RuntimeFactory

# Strings, not imports: the suite may not know what implements the contract.
RUNTIMES: Final[Mapping[str, str]] = {
    "native": "residentkv.runtime.conformance_adapter:create",
    "micro": "residentkv.microruntime.conformance_adapter:create",
}


def load_factory(name: str) -> RuntimeFactory:
    """Import the factory called `name`.

    Raises
    ------
    ConfigError : no such name, module or callable.
    """
    module_name, colon, attribute = RUNTIMES.get(name, name).partition(":")
    if not (module_name and colon and attribute):
        raise ConfigError(f"runtime {name!r} is neither {' nor '.join(RUNTIMES)} nor MODULE:FACTORY")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module exists, something it imports does not
        raise ConfigError(f"runtime {name!r}: no module {error.name}") from None
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ConfigError(f"runtime {name!r}: {module_name} has no callable {attribute}")
    return cast("RuntimeFactory", factory)
