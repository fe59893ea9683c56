"""Prints what a package of this interpreter requires, one a line, without its extras and without what is named.

Usage: python tools/requirements_of.py PACKAGE --without NAME...
Needs the standard library only: it runs in environments that have nothing else yet.
"""

import argparse
import re
from importlib.metadata import requires


def wanted(requirements: list[str], without: set[str]) -> list[str]:
    """The requirements that no extra asks for and whose name is not in `without`."""
    named = [
        (re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0].lower(), requirement) for requirement in requirements
    ]
    return [requirement for name, requirement in named if "extra ==" not in requirement and name not in without]


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package")
    parser.add_argument("--without", nargs="*", default=[])
    args = parser.parse_args()
    print("\n".join(wanted(requires(args.package) or [], set(args.without))))


if __name__ == "__main__":
    main()
