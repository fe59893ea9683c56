import pytest

from residentkv.contract.errors import ContractError, InvariantError
from residentkv.runtime.turn import Turn


def _unused(reason: str) -> None:
    pytest.fail(f"nothing is broken, and yet: {reason}")


def test_a_second_caller_is_told_and_does_not_wait():
    turn = Turn(_unused)
    with turn, pytest.raises(ContractError, match="another call of this manager is still running"), turn:
        pytest.fail("entered twice")
    with turn:
        pass


def test_the_turn_comes_back_after_an_error():
    turn = Turn(_unused)
    with pytest.raises(KeyError), turn:
        raise KeyError
    turn.give_back(turn.take())
    with turn:
        pass


def test_the_token_is_the_turn():
    turn = Turn(_unused)
    turn.take()
    with pytest.raises(IndexError):
        turn.take()


def test_broken_bookkeeping_stops_the_core():
    reasons: list[str] = []
    turn = Turn(reasons.append)
    with pytest.raises(InvariantError), turn:
        raise InvariantError("two and two are five")
    assert reasons == ["two and two are five"]
    with turn:
        pass
