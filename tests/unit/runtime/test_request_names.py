import pytest

from residentkv.contract.errors import ContractError
from residentkv.runtime.request_names import RequestNames, Waiter


def admitted(names: RequestNames, request_id: str, key: int, row: int, *, wants_reuse: bool = True) -> Waiter:
    """Take a request in as BlockManager.admit does."""
    waiter = Waiter(request_id, key, wants_reuse)
    names.rows[request_id] = row
    names.by_row[row] = request_id
    names.note(waiter, row)
    return waiter


def ended(names: RequestNames, request_id: str) -> None:
    """Forget a request as BlockManager.finish does."""
    names.forget(names.rows.pop(request_id))


def test_rows_and_keys_lead_back_to_ids():
    names = RequestNames(4, has_reader=True)
    waiter = admitted(names, "a", key=10, row=2)
    admitted(names, "b", key=11, row=0)
    assert names.row_of("a") == 2
    assert names.ids_of([0, 2]) == ("b", "a")
    assert names.id_of_key(10) == "a"
    assert names.waiter_in(2) == waiter


def test_an_unknown_or_finished_request_is_named():
    names = RequestNames(4, has_reader=False)
    admitted(names, "a", key=0, row=0)
    ended(names, "a")
    for request_id in ("a", "never"):
        with pytest.raises(ContractError, match=f"request '{request_id}' is not admitted"):
            names.row_of(request_id)


def test_a_key_stays_known_until_its_events_were_read():
    names = RequestNames(4, has_reader=True)
    admitted(names, "a", key=0, row=0)
    ended(names, "a")
    admitted(names, "b", key=1, row=0)
    assert names.id_of_key(0) == "a"
    names.forget_ended()
    assert names.id_of_key(1) == "b"
    assert names.id_of_key(0) is None


def test_a_private_request_is_private_until_its_row_has_another():
    names = RequestNames(4, has_reader=False)
    admitted(names, "a", key=0, row=0, wants_reuse=False)
    assert not names.waiter_in(0).wants_reuse
    ended(names, "a")
    admitted(names, "b", key=1, row=0)
    assert names.waiter_in(0).wants_reuse
