"""Every planted bug is found by the test it names, and that test passes without it."""

import pytest

from tests.planted.bugs import BUGS as RUNTIME_BUGS
from tests.planted.micro_bugs import BUGS as MICRO_BUGS
from tests.planted.workshop import Bug, Edit, StaleEditError, broken_module, mutated, run_tests, sound_module

BUGS = (*RUNTIME_BUGS, *MICRO_BUGS)

pytestmark = pytest.mark.timeout(900)


def test_without_a_bug_all_of_them_pass():
    done = run_tests(sound_module(), sorted({bug.test for bug in BUGS}))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_bug_is_found(bug: Bug):
    done = run_tests(broken_module(bug), [bug.test])
    assert done.returncode == 1, f"nobody noticed, or it did not even run:\n{done.stdout}{done.stderr}"
    assert "1 failed" in done.stdout
    assert any(error in done.stdout for error in ("AssertionError", "InvariantError", "DID NOT RAISE")), done.stdout


@pytest.mark.parametrize("text", ["", "old old"])
def test_an_edit_that_does_not_fit_is_an_error(text: str):
    with pytest.raises(StaleEditError):
        mutated(text, Edit("x.cpp", "old", "new"))
