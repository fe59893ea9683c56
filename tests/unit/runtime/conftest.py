"""Scenarios that are checked at the end of every test."""

from collections.abc import Callable, Iterator

import pytest

from tests.unit.runtime.scenario import Scenario


@pytest.fixture
def make() -> Iterator[Callable[..., Scenario]]:
    """Make scenarios; those still open and sound at the end of the test are checked and closed."""
    made: list[Scenario] = []

    def build(usable: int, **options: object) -> Scenario:
        made.append(Scenario(usable, **options))
        return made[-1]

    yield build
    for scenario in made:
        if not scenario.is_closed:
            scenario.check()
            scenario.manager.close()
