"""Who is behind the numbers that the native core uses for requests."""

from collections.abc import Iterable

from residentkv.contract.errors import ContractError


class RequestNames:
    """Ids of admitted requests by row, and, for events, by the key that each admission got.

    Attributes
    ----------
    rows : row of every admitted, unfinished request, by id, in order of admission.
    keys : key of the same requests.
    """

    __slots__ = ("_by_key", "_by_row", "_ended_keys", "_private", "keys", "rows")

    def __init__(self, max_requests: int) -> None:
        self.rows: dict[str, int] = {}
        self.keys: dict[str, int] = {}
        self._by_row: list[str] = [""] * max_requests
        self._by_key: dict[int, str] = {}
        self._ended_keys: list[int] = []

    def add(self, request_id: str, key: int, row: int) -> None:
        """Take in a request that was admitted. O(1)."""
        self.rows[request_id] = row
        self.keys[request_id] = key
        self._by_row[row] = request_id
        self._by_key[key] = request_id

    def remove(self, request_id: str) -> None:
        """Forget a request. Its key stays known until its last events were read. O(1)."""
        del self.rows[request_id]
        self._ended_keys.append(self.keys.pop(request_id))

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

    def ids_of(self, rows: Iterable[int]) -> tuple[str, ...]:
        """Ids of the admitted requests in `rows`, in order."""
        return tuple(self._by_row[row] for row in rows)

    def id_of_key(self, key: int) -> str:
        """Id of the request that was admitted under `key`."""
        return self._by_key[key]

    def forget_ended(self) -> None:
        """All events so far were read, and a finished request causes no more of them."""
        for key in self._ended_keys:
            del self._by_key[key]
        self._ended_keys.clear()
