import pytest

from residentkv.contract.errors import ContractError
from residentkv.runtime.turn import Turn


def test_a_second_caller_is_told_and_does_not_wait():
    turn = Turn()
    with turn, pytest.raises(ContractError, match="another call of this manager is still running"), turn:
        pytest.fail("entered twice")
    with turn:
        pass


def test_the_turn_comes_back_after_an_error():
    turn = Turn()
    with pytest.raises(KeyError), turn:
        raise KeyError
    turn.give_back(turn.take())
    with turn:
        pass


def test_the_token_is_the_turn():
    turn = Turn()
    turn.take()
    with pytest.raises(IndexError):
        turn.take()
