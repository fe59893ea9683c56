"""One thread at a time."""

import threading
from types import TracebackType

from residentkv.contract.errors import ContractError


class Turn:
    """Held while Python bookkeeping and native state change together; whoever comes meanwhile is told so, and never waits.

    The native core guards itself the same way. Step calls touch nothing but native state and therefore do not take a turn.
    """

    __slots__ = ("enter", "leave")

    def __init__(self) -> None:
        lock = threading.Lock()
        self.enter = lock.acquire  # enter(False): whether the turn was free
        self.leave = lock.release

    def __enter__(self) -> None:
        if not self.enter(False):
            raise overlap()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()


def overlap() -> ContractError:
    """The error for a call that came while another one was running."""
    return ContractError(
        "another call of this manager is still running; it takes one call at a time, from one thread, and none from inside its clock"
    )
