"""Two managers that differ in nothing but their hash seed, driven as one: every answer must be the same."""

from collections.abc import Callable
from typing import Any

import numpy as np

from residentkv import _core
from residentkv.contract.errors import ResidentKVError
from tests.support.native import Event, to_event

SEEDS = (1, 0x9E3779B97F4A7C15)


def plain(answer: Any) -> Any:
    """`answer` as values that compare."""
    if isinstance(answer, np.ndarray):
        return answer.tolist()
    if isinstance(answer, tuple | list):
        return [plain(entry) for entry in answer]
    if type(answer).__module__ == "residentkv._core":
        skipped = {"block_table"} if isinstance(answer, _core.StepPlan) else set()  # rows of other steps are old
        names = [name for name in dir(answer) if not name.startswith("_") and name not in skipped]
        return {name: plain(value) for name in names if not callable(value := getattr(answer, name))}
    return answer


class Twin:
    """Looks like one `_core.BlockManager`, its own first answer included, and checks everything after every call."""

    def __init__(self, **options: Any) -> None:
        self._managers = [_core.BlockManager(hash_seed=seed, **options) for seed in SEEDS]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            first, second = (self._call(manager, name, arguments) for manager in self._managers)
            assert plain(first) == plain(second), f"{name}{arguments} depends on the hash seed"
            return first

        return call

    def accept_claim(self, **options: Any) -> Any:
        first, second = (self._call(manager, "accept_claim", (), options) for manager in self._managers)
        assert plain(first) == plain(second), "accept_claim depends on the hash seed"
        return first

    def refuses(self, name: str, *arguments: Any, **options: Any) -> str | None:
        """The message of the error that both raise for this call; None if neither does."""
        first, second = (self._error(manager, name, arguments, options) for manager in self._managers)
        assert first == second
        return first

    def sufficient(self, conflict_of: Callable[[Any], Any], order: list[int]) -> list[int]:
        """`conflict_of(manager).sufficient(order)` of both."""
        first, second = (conflict_of(manager).sufficient(np.array(order, np.uint32)) for manager in self._managers)
        assert first.tolist() == second.tolist()
        return first.tolist()

    def drain(self) -> list[Event]:
        first, second = ([to_event(record) for record in manager.drain_events()] for manager in self._managers)
        assert first == second, "events depend on the hash seed"
        return first

    def _error(self, manager: _core.BlockManager, name: str, arguments: Any, options: Any) -> str | None:
        try:
            self._call(manager, name, arguments, options)
        except ResidentKVError as error:
            return str(error)
        return None

    @staticmethod
    def _call(manager: _core.BlockManager, name: str, arguments: Any, options: Any = None) -> Any:
        answer = getattr(manager, name)(*arguments, **(options or {}))
        manager.check_invariants()
        return answer
