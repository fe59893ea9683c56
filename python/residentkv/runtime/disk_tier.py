"""A tier on disk that survives its process.

Bytes are in a `BlockFile`, names and checksums in SQLite (WAL). Why two: the file moves megabytes without a copy, and
the order of the commits is all that crash safety needs:

    store   row of the old content deleted, committed | bytes written, synced | row of the new content committed
    load    bytes read | checksum compared

So a row exists only while its slot holds exactly its bytes: after `kill -9` at any moment a block is there whole or it
is a miss. What changes the bytes afterwards (bit rot, a cut file) is found by the checksum; such content is dropped and
named as the failure it is, never returned.

Slots, their states, eviction, wants and reservations are a `SlotTable` (csrc/tier/slot_table.hpp), as in the host tier.

Invariants: (1) every row names a READY slot of the table with the same key. (2) One process at a time (a lock on the
folder).
Thread safety: none.
"""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from residentkv._core import SlotTable, checksum
from residentkv.contract.errors import ContractError, DiskTierError
from residentkv.runtime.block_file import BlockFile

if TYPE_CHECKING:
    from typing_extensions import Buffer

_FORMAT: Final = 1  # of what is on disk; another number misses everything

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS shape (format INTEGER, slot_bytes INTEGER, num_slots INTEGER);
CREATE TABLE IF NOT EXISTS block (
  slot INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, priority INTEGER NOT NULL,
  whole BLOB NOT NULL, layers BLOB NOT NULL, stored INTEGER NOT NULL
);
"""

_INSERT: Final = """
INSERT INTO block SELECT ?, ?, ?, ?, ?, 1 + COALESCE(MAX(stored), 0) FROM block
"""

LoadError = Literal["missing", "short_read", "checksum"]


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """What `store` is given.

    Attributes
    ----------
    key : 32 bytes, naming the content within the namespace; distinct within one call.
    data : `slot_bytes` contiguous bytes; written without a detour when aligned to pages.
    checksums : per layer, as the copy engine took them; kept beside the bytes and returned by `load`.
    """

    key: bytes
    data: "Buffer"
    checksums: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The bytes are there and verified. `checksums`: per layer, as the copy engine took them."""

    checksums: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """The content can not be had from this tier; it is no longer in it. What was to be filled means nothing."""

    error: LoadError
    detail: str


class DiskTier:
    """Blocks of one size in one folder.

    Parameters
    ----------
    folder : made if it is not there; belongs to the tier.
    slot_bytes : of a block, as the copy engine's `block_bytes`. Content of another size is discarded.
    num_slots : how many blocks fit, > 0.
    namespace : digest of the cache identity and the layout: content of another one is never found.

    Raises
    ------
    DiskTierError : another process has the folder, it can not be written, there is no room, or its metadata is damaged.
    """

    def __init__(self, folder: Path, *, slot_bytes: int, num_slots: int, namespace: bytes) -> None:
        if slot_bytes <= 0 or num_slots <= 0:
            raise ContractError(f"a tier needs slots of some bytes: slot_bytes={slot_bytes} num_slots={num_slots}")
        self._namespace = namespace
        self._lock = _lock(folder)
        try:
            self._rows = _open_rows(folder / "blocks.sqlite")
            self._file = BlockFile(folder / "blocks.bin", slot_bytes=slot_bytes, num_slots=num_slots)
            self.table: Final = SlotTable(num_slots=num_slots)
            self._recover(slot_bytes, num_slots)
        except BaseException:
            os.close(self._lock)
            raise

    def store(self, blocks: Sequence[StoredBlock], *, priority: int = 0) -> list[bool]:
        """Keep blocks, durably. Per block: True when it is there, already or from now on; False: no room.

        Two commits and one sync for all of them, so many at once are as fast as the device.

        Raises
        ------
        DiskTierError : the device failed or is full; none of the new blocks is there, all others but the evicted are.
        """
        names = [self._name(block.key) for block in blocks]
        held = [slot for name in names if (slot := self.table.find(name)) is not None]
        for slot in held:
            self.table.begin_read(slot)  # what is promised as here may not make room for the others of this call
        try:
            self._fill(blocks, names, priority)
        finally:
            for slot in held:
                self.table.end_read(slot)
        return [self.table.has(name) for name in names]

    def load(self, key: bytes, into: "Buffer") -> Loaded | NotLoaded:
        """Read a block and verify it. Content that can not be verified is dropped.

        Raises
        ------
        DiskTierError : the device failed; the content stays, a later try may succeed.
        """
        slot = self.table.find(self._name(key))
        if slot is None:
            return NotLoaded("missing", "not in this tier")
        checksums = self.table.checksums(slot)
        self.table.begin_read(slot)
        try:
            is_whole = self._file.read(slot, into)
        finally:
            self.table.end_read(slot)
        row = self._execute("SELECT whole FROM block WHERE slot = ?", (slot,)).fetchone()
        if is_whole and row is not None and checksum(into).to_bytes(8, "little") == row[0]:
            return Loaded(checksums)
        self._drop(slot)
        if not is_whole:
            return NotLoaded("short_read", f"the file ends within slot {slot}")
        return NotLoaded("checksum", f"slot {slot} does not hold what was stored")

    def has(self, key: bytes) -> bool:
        """Whether this content is here. O(1), reads no byte of it."""
        return self.table.has(self._name(key))

    def discard(self, key: bytes) -> None:
        """Forget content, durably; nothing happens if it is not here."""
        slot = self.table.find(self._name(key))
        if slot is not None:
            self._drop(slot)

    def close(self) -> None:
        """Give the folder back; everything stored stays. Idempotent."""
        if self._lock < 0:
            return
        self._rows.close()
        self._file.close()
        os.close(self._lock)
        self._lock = -1

    @property
    def is_direct(self) -> bool:
        """Whether the page cache is bypassed."""
        return self._file.is_direct

    def _name(self, key: bytes) -> bytes:
        return hashlib.sha256(len(self._namespace).to_bytes(8, "little") + self._namespace + key).digest()

    def _fill(self, blocks: Sequence[StoredBlock], names: Sequence[bytes], priority: int) -> None:
        fills: list[tuple[int, bytes, StoredBlock]] = []
        lost: list[tuple[int]] = []
        for block, name in zip(blocks, names, strict=True):
            filled = None if self.table.has(name) else self.table.begin_fill(name, priority)
            if filled is not None:
                slot, evicted = filled
                fills.append((slot, name, block))
                lost += [(slot,)] if evicted is not None else []
        try:
            self._forget(lost)
            rows = [self._written(slot, name, priority, block) for slot, name, block in fills]
            if rows:
                self._file.sync()
                self._commit(_INSERT, rows)
        except BaseException:
            for slot, _, _ in fills:
                self.table.abort_fill(slot)
            raise
        for slot, _, block in fills:
            self.table.finish_fill(slot, block.checksums)

    def _written(self, slot: int, name: bytes, priority: int, block: StoredBlock) -> tuple[object, ...]:
        """Write one block and return its row."""
        whole = checksum(block.data)
        self._file.write(slot, block.data)
        return slot, name, priority, whole.to_bytes(8, "little"), block.checksums.tobytes()

    def _drop(self, slot: int) -> None:
        self._forget([(slot,)])
        self.table.drop(slot)

    def _forget(self, slots: Sequence[tuple[int]]) -> None:
        if slots:
            self._commit("DELETE FROM block WHERE slot = ?", slots)

    def _commit(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Run the statement for every row in one transaction; durable on return."""
        self._execute("BEGIN")
        try:
            self._rows.executemany(statement, rows)
            self._rows.execute("COMMIT")
        except sqlite3.Error as error:
            self._rows.rollback()
            raise DiskTierError(f"metadata of the disk tier: {error}") from error

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._rows.execute(statement, values)
        except sqlite3.Error as error:
            raise DiskTierError(f"metadata of the disk tier: {error}") from error

    def _recover(self, slot_bytes: int, num_slots: int) -> None:
        """Adopt what an earlier process left. Content of another shape or beyond the file's end is forgotten."""
        shape = (_FORMAT, slot_bytes, num_slots)
        if self._execute("SELECT * FROM shape").fetchone() != shape:
            self._execute("DELETE FROM block")
            self._execute("DELETE FROM shape")
            self._execute("INSERT INTO shape VALUES (?, ?, ?)", shape)
        self._execute("DELETE FROM block WHERE slot >= ? OR slot < 0", (self._file.whole_slots_found,))
        for slot, name, priority, layers in self._execute(
            "SELECT slot, key, priority, layers FROM block ORDER BY stored"
        ):
            self.table.adopt(slot, name, priority, np.frombuffer(layers, np.uint64))


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DiskTierError(f"{folder} can not be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise DiskTierError(f"{folder} is in use by another process: one disk tier, one process") from error
    return lock


def _open_rows(path: Path) -> sqlite3.Connection:
    try:
        rows = sqlite3.connect(path, isolation_level=None)
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("PRAGMA synchronous = FULL")  # a commit is on the device before the next step of a store begins
        rows.executescript(_SCHEMA)
        [verdict] = rows.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise DiskTierError(f"{path}: {error}; delete the folder to start empty") from error
    if verdict != "ok":
        rows.close()
        raise DiskTierError(f"{path} is damaged ({verdict}); delete the folder to start empty")
    return rows
