"""Entry point of the `residentkv` command: runs one command, turns errors into one message and an exit status."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import ModuleType
from typing import Final

from residentkv.cli import conformance, demo, gate, lowering, micro, replay, trace
from residentkv.conformance.gates import UnreadableTrace
from residentkv.contract.errors import ConfigError, ResidentKVError

# The whole list: a command exists because it is named here, not because a file lies in this folder.
COMMANDS: Final[Mapping[str, ModuleType]] = {
    "demo": demo,
    "conformance": conformance,
    "gate": gate,
    "trace": trace,
    "lowering": lowering,
    "micro": micro,
    "replay": replay,
}

EXIT_FAILED: Final = 1  # the command ran and says no, or failed on the way
EXIT_USAGE: Final = 2  # bad arguments, unreadable input, or something the command needs is not installed
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141

_EXTRA_OF: Final[Mapping[str, str]] = {
    "torch": "torch",
    "transformers": "demo",
    "gguf": "demo",
    "accelerate": "demo",
    "jsonschema": "lowering",
    "tomli": "lowering",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line. Loads neither torch nor any engine."""
    parser = argparse.ArgumentParser(
        prog="residentkv", description="A native paged KV block manager that keeps its promises."
    )
    parser.add_argument("--version", action="version", version=f"residentkv {version('residentkv')}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in COMMANDS.values():
        module.register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : arguments without the program's name; None takes them from `sys.argv`.

    Returns
    -------
    The exit status: what the command returned, 1 when it failed, 2 for bad usage, unreadable input or a missing
    dependency. A failure is one line on stderr.

    Raises
    ------
    SystemExit : from argparse, for `--help`, `--version` and bad usage.
    """
    args = build_parser().parse_args(argv)
    try:
        status: int = COMMANDS[args.command].run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader left. Point stdout elsewhere, or the interpreter fails once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except OSError as error:
        return _fail(args.command, f"{error.filename}: {error.strerror}" if error.filename else str(error), EXIT_USAGE)
    except (ConfigError, UnreadableTrace) as error:
        return _fail(args.command, str(error), EXIT_USAGE)
    except ResidentKVError as error:
        return _fail(args.command, f"{type(error).__name__}: {error}", EXIT_FAILED)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return _fail(args.command, f"needs {error.name}: pip install 'residentkv[{extra}]'", EXIT_USAGE)
    return status


def _fail(command: str, message: str, status: int) -> int:
    print(f"residentkv {command}: error: {message}", file=sys.stderr)
    return status
