"""The `residentkv` command. A command is a module with `register(subparsers)` and `run(args)`; `main.py` lists them."""
