"""Run a Python module with some modules of the package replaced, for example by a native one with a sanitizer in it.

Usage: python tools/with_module.py FOLDER MODULE [ARGUMENT...]    (as `python -m MODULE ARGUMENT...`)

FOLDER may hold one `_core.*.so` at any depth, and Python sources under FOLDER/residentkv/. The rest is the installed
package's own.
"""

import runpy
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

NATIVE_MODULE = "residentkv._core"


class ReplacedModules(MetaPathFinder):
    """Finds the modules that a folder replaces, before anybody else does.

    Raises
    ------
    SystemExit : the folder replaces nothing, or holds more than one native module.
    """

    def __init__(self, folder: Path) -> None:
        native = sorted(folder.rglob("_core.*.so"))
        sources = sorted((folder / "residentkv").rglob("*.py"))
        if len(native) > 1 or not (native or sources):
            sys.exit(f"{folder}: expected one native module or Python sources, found {len(native)} and {len(sources)}")
        self._paths = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in sources}
        if native:
            self._paths[NATIVE_MODULE] = native[0]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Say where a replaced module is; None for all others."""
        del path, target
        found = self._paths.get(fullname)
        return None if found is None else spec_from_file_location(fullname, found)


def main() -> None:
    """Replace the modules, then become the module asked for."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, name, *arguments = sys.argv[1:]
    sys.meta_path.insert(0, ReplacedModules(Path(folder)))
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
