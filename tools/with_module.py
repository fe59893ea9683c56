"""Run a Python module with another build of the native module, for example one with a sanitizer in it.

Usage: python tools/with_module.py FOLDER MODULE [ARGUMENT...]    (as `python -m MODULE ARGUMENT...`)

FOLDER is searched for `_core.*.so`. The installed package is used for everything else.
"""

import runpy
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def load_native_module(folder: Path) -> None:
    """Make the one `_core` under `folder` the `residentkv._core` of this process.

    Raises
    ------
    SystemExit : there is none, or more than one.
    """
    found = sorted(folder.rglob("_core.*.so"))
    if len(found) != 1:
        sys.exit(f"{folder}: expected one native module, found {len(found)}")
    spec = spec_from_file_location("residentkv._core", found[0])
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Swap the native module, then become the module asked for."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, name, *arguments = sys.argv[1:]
    load_native_module(Path(folder))
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
