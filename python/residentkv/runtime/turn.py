"""One thread at a time."""

from residentkv.contract.errors import ContractError


class Turn:
    """Held while Python bookkeeping and native state change together. Whoever comes meanwhile is told so, at once.

    The native core guards itself in the same way. Step calls touch nothing but native state, so they take no turn.
    A list with one token, because taking it is one atomic operation on every Python and costs a third of a lock.

    Attributes
    ----------
    take : returns the token; IndexError while somebody else has it. `with` does the same and raises ContractError.
    give_back : takes the token back.
    """

    __slots__ = ("give_back", "take")

    def __init__(self) -> None:
        tokens: list[None] = [None]
        self.take = tokens.pop
        self.give_back = tokens.append

    def __enter__(self) -> None:
        try:
            self.take()
        except IndexError:
            raise overlap() from None

    def __exit__(self, *error: object) -> None:
        self.give_back(None)


def overlap() -> ContractError:
    """The error for a call that came while another one was running."""
    return ContractError(
        "another call of this manager is still running: give each manager to one thread, or lock around it, "
        "and do not call it from its own clock"
    )
