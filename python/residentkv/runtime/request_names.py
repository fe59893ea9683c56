"""Who is behind the numbers that the native core uses for requests."""

from collections.abc import Iterable
from typing import NamedTuple

from residentkv.contract.errors import ContractError


class Waiter(NamedTuple):
    """A request that asks for room."""

    request_id: str
    key: int  # of its admission, as events carry it
    wants_reuse: bool


class RequestNames:
    """Ids of admitted requests by row, and, for events, by the key that each admission got.

    `BlockManager` keeps `rows` and `by_row` itself, and calls `note` and `forget` only if there is more to remember.

    Attributes
    ----------
    rows : row of every admitted, unfinished request, by id, in order of admission.
    by_row : id of the request that has a row, or had it last.
    has_reader : whether somebody reads events, and so needs keys.
    private : rows of requests whose content stays out of the prefix index.
    """

    __slots__ = ("_by_key", "_ended_keys", "_keys", "by_row", "has_reader", "private", "rows")

    def __init__(self, max_requests: int, *, has_reader: bool) -> None:
        self.rows: dict[str, int] = {}
        self.by_row = [""] * max_requests
        self.has_reader = has_reader
        self._keys = [-1] * max_requests  # by row
        self.private: set[int] = set()
        self._by_key: dict[int, str] = {}
        self._ended_keys: list[int] = []

    def note(self, waiter: Waiter, row: int) -> None:
        """Remember an admitted request's key and wish. O(1)."""
        if self.has_reader:
            self._keys[row] = waiter.key
            self._by_key[waiter.key] = waiter.request_id
        if not waiter.wants_reuse:
            self.private.add(row)

    def forget(self, row: int) -> None:
        """Forget what was noted of a request that ended. Its key stays known until its last events were read. O(1)."""
        if self.has_reader:
            self._ended_keys.append(self._keys[row])
        self.private.discard(row)

    def row_of(self, request_id: str) -> int:
        """Row of an admitted request.

        Raises
        ------
        ContractError : no such request.
        """
        row = self.rows.get(request_id)
        if row is None:
            raise ContractError(
                f"request {request_id!r} is not admitted: it is unknown or already finished; admit it first"
            )
        return row

    def waiter_in(self, row: int) -> Waiter:
        """The admitted request in `row`, asking for more."""
        return Waiter(self.by_row[row], self._keys[row], row not in self.private)

    def ids_of(self, rows: Iterable[int]) -> tuple[str, ...]:
        """Ids of the admitted requests in `rows`, in order."""
        return tuple(self.by_row[row] for row in rows)

    def id_of_key(self, key: int) -> str | None:
        """Id of the request that was admitted under `key`, if any."""
        return self._by_key.get(key)

    def forget_ended(self) -> None:
        """All events so far were read, and a finished request causes no more of them."""
        for key in self._ended_keys:
            del self._by_key[key]
        self._ended_keys.clear()
