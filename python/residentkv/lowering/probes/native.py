"""Probe of our own runtime: the litmus suite, by the name that conformance knows the runtime by."""

from importlib.metadata import version
from pathlib import Path

from residentkv.conformance.runtimes import load_factory
from residentkv.conformance.suite import Status, Suite
from residentkv.lowering.sources import UnverifiedError


def run_native(python: Path | None, folder: Path) -> str:
    """Run every litmus with its controls and the sweep in this process; about a second.

    Raises
    ------
    UnverifiedError : the native module is missing, or a control did not fail: then nothing it left proves anything.
    """
    del python  # this interpreter has it, or nobody has
    try:
        factory = load_factory("native")
    except ImportError as error:
        raise UnverifiedError(f"the native runtime can not be loaded: {error}") from None
    result = Suite(factory, folder).run()
    for litmus in result.litmus:
        for control in litmus.controls:
            if control.status is not Status.FAILED:
                raise UnverifiedError(f"control {control.name!r} of {litmus.id} did not fail: {control.status.value}")
    return version("residentkv")
