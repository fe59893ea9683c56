import subprocess
import sys
from importlib.metadata import version

import pytest

from residentkv.cli import main as cli
from residentkv.contract.errors import ConfigError, ContractError, InvariantError


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "residentkv", *arguments], capture_output=True, text=True, check=False)


def test_version_is_the_packages():
    result = run_cli("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"residentkv {version('residentkv')}\n", "")


def test_help_names_every_command():
    result = run_cli("--help")
    assert result.returncode == 0
    for command in cli.COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize("arguments", [(), ("no-such-command",), ("demo", "--no-such-option")])
def test_bad_usage_exits_2_with_one_error_line(arguments: tuple[str, ...]):
    result = run_cli(*arguments)
    assert result.returncode == cli.EXIT_USAGE
    assert result.stdout == ""
    assert sum("error:" in line for line in result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_command_line_loads_no_engine():
    heavy = "{'torch', 'transformers', 'numpy'}"
    code = f"import sys, residentkv.cli.main as m; m.build_parser(); print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("device 'x' is unknown"), cli.EXIT_USAGE, "device 'x' is unknown"),
        (FileNotFoundError(2, "No such file or directory", "a.jsonl"), cli.EXIT_USAGE, "a.jsonl: No such file"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), cli.EXIT_USAGE, "residentkv[torch]"),
        (ModuleNotFoundError("No module named 'gguf.x'", name="gguf.x"), cli.EXIT_USAGE, "residentkv[demo]"),
        (ContractError("num_tokens=0"), cli.EXIT_FAILED, "ContractError: num_tokens=0"),
        (InvariantError("INV-1"), cli.EXIT_FAILED, "InvariantError: INV-1"),
    ],
)
def test_a_failing_command_is_one_line_and_a_status(monkeypatch, capsys, error, status, message):
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(cli.COMMANDS["conformance"], "run", fail)
    assert cli.main(["conformance", "--runtime", "native"]) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("residentkv conformance: error: ")
    assert message in output.err
    assert output.err.count("\n") == 1


def test_interrupt_is_quiet(monkeypatch, capsys):
    def interrupt(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.COMMANDS["conformance"], "run", interrupt)
    assert cli.main(["conformance", "--runtime", "native"]) == cli.EXIT_INTERRUPTED
    assert capsys.readouterr().err == ""


def test_unknown_missing_module_is_our_bug_and_is_not_hidden(monkeypatch):
    def fail(args: object) -> int:
        raise ModuleNotFoundError("No module named 'residentkv.nothing'", name="residentkv.nothing")

    monkeypatch.setattr(cli.COMMANDS["conformance"], "run", fail)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["conformance", "--runtime", "native"])


def test_reader_that_leaves_is_no_error():
    code = """
import sys
from residentkv.cli import main as cli
def talk(args):
    print("line\\n" * 100_000)
    return 0
cli.COMMANDS["conformance"].run = talk
sys.exit(cli.main(["conformance", "--runtime", "native"]))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (cli.EXIT_BROKEN_PIPE, b"")
