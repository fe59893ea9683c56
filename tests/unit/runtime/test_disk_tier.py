"""Content survives its process, and what was damaged is a miss or a named failure, never wrong bytes."""

import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from residentkv._core import HostArena
from residentkv.contract.errors import ContractError, DeviceError, DiskTierError
from residentkv.runtime.disk_tier import DiskTier, Loaded, NotLoaded, StoredBlock
from tests.support.blocks import bytes_of, key_of

SLOT_BYTES = 10_000  # not a multiple of a page: transfers go through a bounce buffer
ROOT = Path(__file__).resolve().parents[3]


def block(number: int, num_bytes: int = SLOT_BYTES) -> StoredBlock:
    return StoredBlock(key_of(number), bytes_of(number, num_bytes), np.array([number, 7], np.uint64))


class Folder:
    """Opens tiers one after the other in one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: list[DiskTier] = []

    def open(self, **changes: object) -> DiskTier:
        for tier in self.opened:
            tier.close()
        options = {"slot_bytes": SLOT_BYTES, "num_slots": 4, "namespace": b"model a"} | changes
        self.opened.append(DiskTier(self.path, **options))
        return self.opened[-1]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path / "tier")
    yield made
    for tier in made.opened:
        tier.close()


def load(tier: DiskTier, number: int) -> Loaded | NotLoaded:
    into = np.full(tier._file.slot_bytes, 0xEE, np.uint8)
    loaded = tier.load(key_of(number), into)
    if isinstance(loaded, Loaded):
        assert into.tobytes() == bytes_of(number, len(into)).tobytes()
        assert loaded.checksums.tolist() == [number, 7]
    tier.table.check_invariants()
    return loaded


def error_of(loaded: Loaded | NotLoaded) -> str:
    return "none" if isinstance(loaded, Loaded) else loaded.error


class TestContent:
    def test_blocks_come_back_from_the_same_process_and_from_the_next(self, folder: Folder):
        tier = folder.open()
        assert tier.store([block(1), block(2)]) == [True, True]
        assert error_of(load(tier, 1)) == "none"
        tier = folder.open()
        assert [error_of(load(tier, number)) for number in (1, 2, 3)] == ["none", "none", "missing"]

    def test_aligned_memory_goes_directly(self, folder: Folder):
        arena = HostArena(num_bytes=3 * 8192)
        slots = memoryview(arena)
        tier = folder.open(slot_bytes=8192)
        slots[:8192] = bytes_of(5, 8192).tobytes()
        tier.store([StoredBlock(key_of(5), slots[:8192], np.array([5, 7], np.uint64))])
        assert isinstance(tier.load(key_of(5), slots[8192 : 2 * 8192]), Loaded)
        assert slots[8192 : 2 * 8192] == slots[:8192]
        assert bytes(slots[2 * 8192 :]) == bytes(8192)

    def test_the_oldest_makes_room_and_stays_gone(self, folder: Folder):
        tier = folder.open()
        tier.store([block(number) for number in range(4)])
        assert error_of(load(tier, 0)) == "none"
        assert tier.store([block(4)]) == [True]
        tier = folder.open()
        assert [error_of(load(tier, number)) for number in range(5)] == ["none", "missing", "none", "none", "none"]

    def test_what_is_here_is_not_stored_twice(self, folder: Folder):
        tier = folder.open()
        assert tier.store([block(1)]) == tier.store([block(1)]) == [True]
        assert tier.table.counts().ready == 1

    def test_what_is_here_does_not_make_room_for_the_rest_of_the_call(self, folder: Folder):
        tier = folder.open(num_slots=2)
        tier.store([block(1), block(2)])
        assert tier.store([block(1), block(3), block(4)]) == [True, True, False]
        assert [error_of(load(tier, number)) for number in range(1, 5)] == ["none", "missing", "none", "missing"]

    def test_no_room_is_an_answer(self, folder: Folder):
        tier = folder.open(num_slots=1)
        tier.store([block(1)])
        tier.table.want(0)
        assert tier.store([block(2)]) == [False]
        assert error_of(load(tier, 1)) == "none"

    def test_discarded_content_stays_gone(self, folder: Folder):
        tier = folder.open()
        tier.store([block(1)])
        tier.discard(key_of(1))
        tier.discard(key_of(1))
        assert error_of(load(tier, 1)) == "missing"
        assert error_of(load(folder.open(), 1)) == "missing"


class TestMismatch:
    def test_another_identity_misses_and_destroys_nothing(self, folder: Folder):
        folder.open().store([block(1)])
        assert error_of(load(folder.open(namespace=b"model b"), 1)) == "missing"
        assert error_of(load(folder.open(), 1)) == "none"

    def test_another_shape_misses(self, folder: Folder):
        folder.open().store([block(1)])
        assert error_of(load(folder.open(slot_bytes=SLOT_BYTES + 1), 1)) == "missing"
        assert error_of(load(folder.open(num_slots=9), 1)) == "missing"

    @pytest.mark.parametrize("changes", [{"slot_bytes": 0}, {"num_slots": 0}])
    def test_a_tier_without_room_for_a_block_is_a_mistake(self, folder: Folder, changes: dict[str, int]):
        with pytest.raises(ContractError, match="slots of some bytes"):
            folder.open(**changes)

    def test_a_block_of_another_size_is_a_mistake_and_leaves_nothing(self, folder: Folder):
        tier = folder.open()
        with pytest.raises(ContractError, match="10000 bytes, got 9999"):
            tier.store([block(1), block(2, SLOT_BYTES - 1)])
        assert tier.table.counts().free == 4
        assert error_of(load(folder.open(), 1)) == "missing"


class TestDamage:
    @pytest.mark.parametrize("at", [0, 5_000, SLOT_BYTES - 1])
    def test_a_flipped_bit_is_found_and_hits_its_block_only(self, folder: Folder, at: int):
        tier = folder.open()
        tier.store([block(1), block(2)])
        flip(folder.path / "blocks.bin", at)
        assert [error_of(load(tier, number)) for number in (1, 2)] == ["checksum", "none"]
        assert error_of(load(tier, 1)) == "missing"
        assert [error_of(load(folder.open(), number)) for number in (1, 2)] == ["missing", "none"]

    def test_a_file_cut_under_our_feet_is_a_short_read(self, folder: Folder):
        tier = folder.open()
        tier.store([block(1), block(2)])
        with (folder.path / "blocks.bin").open("r+b") as file:
            file.truncate(tier._file.stride_bytes + 4096)
        assert [error_of(load(tier, number)) for number in (2, 1)] == ["short_read", "none"]

    def test_a_cut_file_misses_when_it_is_opened_again(self, folder: Folder):
        tier = folder.open()
        tier.store([block(1), block(2)])
        stride = tier._file.stride_bytes
        tier.close()
        with (folder.path / "blocks.bin").open("r+b") as file:
            file.truncate(stride + 4096)
        tier = folder.open()
        assert [error_of(load(tier, number)) for number in (1, 2)] == ["none", "missing"]
        assert tier.store([block(2)]) == [True]

    def test_a_missing_file_misses(self, folder: Folder):
        folder.open().store([block(1)])
        folder.opened[-1].close()
        (folder.path / "blocks.bin").unlink()
        assert error_of(load(folder.open(), 1)) == "missing"

    def test_damaged_metadata_is_a_clear_error(self, folder: Folder):
        folder.open().store([block(1)])
        folder.opened[-1].close()
        path = folder.path / "blocks.sqlite"
        path.write_bytes(b"\0" * 200 + path.read_bytes()[200:])
        with pytest.raises(DiskTierError, match="delete the folder"):
            folder.open()

    def test_metadata_that_names_other_bytes_is_a_checksum_failure(self, folder: Folder):
        folder.open().store([block(1), block(2)])
        folder.opened[-1].close()
        with sqlite3.connect(folder.path / "blocks.sqlite") as rows:
            rows.execute("UPDATE block SET slot = 9 - slot")
            rows.execute("UPDATE block SET slot = slot - 8")
        rows.close()
        tier = folder.open()
        assert [error_of(load(tier, number)) for number in (1, 2)] == ["checksum", "checksum"]


class TestWorld:
    def test_a_second_tier_of_one_folder_is_refused(self, folder: Folder):
        folder.open()
        with pytest.raises(DiskTierError, match="in use by another process"):
            DiskTier(folder.path, slot_bytes=SLOT_BYTES, num_slots=4, namespace=b"model a")

    def test_a_second_process_is_refused(self, folder: Folder):
        folder.open()
        code = (
            "import sys; from pathlib import Path; from residentkv.runtime.disk_tier import DiskTier; "
            "DiskTier(Path(sys.argv[1]), slot_bytes=10000, num_slots=4, namespace=b'')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "DiskTierError" in done.stderr
        assert "in use by another process" in done.stderr

    def test_a_folder_that_can_not_be_made_is_a_clear_error(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        with pytest.raises(DiskTierError, match="can not be written"):
            DiskTier(tmp_path / "file" / "tier", slot_bytes=1, num_slots=1, namespace=b"")

    def test_a_full_disk_is_a_clear_error_and_the_folder_is_free_again(self, folder: Folder):
        with file_size_limit(200_000), pytest.raises(DiskTierError, match="no room for 1000 slots"):
            folder.open(num_slots=1000)
        assert folder.open().store([block(1)]) == [True]

    def test_a_write_that_fails_leaves_the_others(self, folder: Folder):
        tier = folder.open()
        tier.store([block(1)])
        with file_size_limit(tier._file.stride_bytes), pytest.raises(DeviceError, match="write of slot 1 failed"):
            tier.store([block(2)])
        assert [error_of(load(tier, number)) for number in (1, 2)] == ["none", "missing"]
        assert tier.table.counts().filling == 0
        assert tier.store([block(2)]) == [True]


@pytest.mark.timeout(120)
def test_killed_at_any_moment_each_block_is_whole_or_absent(tmp_path: Path):
    command = [sys.executable, "-m", "tests.support.kill_points", str(tmp_path / "tier"), "200", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = int(done.stdout.split()[2])
    assert found > 200, "almost nothing survives, so the test shows nothing"


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        [byte] = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x20]))


class file_size_limit:  # noqa: N801 - used as a function
    """Writes beyond `num_bytes` of any file fail with EFBIG, as they fail with ENOSPC on a full disk."""

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes

    def __enter__(self) -> None:
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        self.limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.num_bytes, self.limits[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)
        signal.signal(signal.SIGXFSZ, self.handler)
