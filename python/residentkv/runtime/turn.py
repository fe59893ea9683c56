"""One thread at a time."""

from collections.abc import Callable
from types import TracebackType

from residentkv.contract.errors import ContractError, InvariantError


class Turn:
    """Held while Python bookkeeping and native state change together. Whoever comes meanwhile is told so, at once.

    The native core guards itself in the same way. Step calls touch nothing but native state, so they take no turn.
    A list with one token, because taking it is one atomic operation on every Python and costs a third of a lock.

    Parameters
    ----------
    poison : stops the native core for a reason. Python bookkeeping that contradicts itself must stop it as well: it
        guards the same blocks.

    Attributes
    ----------
    take : returns the token; IndexError while somebody else has it. `with` does the same and raises ContractError.
    give_back : takes the token back.
    poison : as given. `with` calls it when an InvariantError leaves; whoever takes the token by hand does so too.
    """

    __slots__ = ("give_back", "poison", "take")

    def __init__(self, poison: Callable[[str], None]) -> None:
        self.poison = poison
        tokens: list[None] = [None]
        self.take = tokens.pop
        self.give_back = tokens.append

    def __enter__(self) -> None:
        try:
            self.take()
        except IndexError:
            raise overlap() from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back(None)
        if isinstance(error, InvariantError):
            self.poison(str(error))


def overlap() -> ContractError:
    """The error for a call that came while another one was running."""
    return ContractError(
        "another call of this manager is still running: give each manager to one thread, or lock around it, "
        "and do not call it from its own clock"
    )
