"""`python -m residentkv`: the same as the `residentkv` command."""

import sys

from residentkv.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
