"""Kill a process that stores blocks, at random points, and look at what it left behind.

Usage: python -m tests.support.kill_points FOLDER NUM_KILLS SEED     (exits 1 at the first kill that left a fault)

Each kill is a forked child that stores blocks into one disk tier until it is gone: by SIGKILL from outside after a
random time, or by its own SIGKILL at its n-th step, a step being a write (half of it is done), a sync or a commit.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np

from residentkv.runtime import block_file, disk_tier
from residentkv.runtime.disk_tier import DiskTier, Loaded, NotLoaded, StoredBlock
from tests.support.blocks import bytes_of, key_of

SLOT_BYTES = 12_288
NUM_SLOTS = 6
NUM_KEYS = 40
STEPS_OF_A_STORE = 5  # delete, two writes, sync, insert: of the batches below


def open_tier(folder: Path) -> DiskTier:
    return DiskTier(folder, slot_bytes=SLOT_BYTES, num_slots=NUM_SLOTS, namespace=b"kill")


def store_until_killed(folder: Path, chance: random.Random, report: int, last_step: int) -> None:
    """Store pairs of random blocks for ever; report the keys of each finished store."""
    steps = 0

    def step(name: str, *arguments: object) -> object:
        nonlocal steps
        steps += 1
        if steps == last_step:
            if name == "pwrite":
                fd, view, offset = arguments
                originals["pwrite"](fd, view[: len(view) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return originals[name](*arguments)

    originals = {"pwrite": os.pwrite, "fdatasync": os.fdatasync, "commit": DiskTier._commit}
    block_file.os.pwrite = lambda *arguments: step("pwrite", *arguments)
    block_file.os.fdatasync = lambda *arguments: step("fdatasync", *arguments)
    disk_tier.DiskTier._commit = lambda *arguments: step("commit", *arguments)
    tier = open_tier(folder)
    while True:
        numbers = chance.sample(range(NUM_KEYS), 2)
        blocks = [StoredBlock(key_of(i), bytes_of(i, SLOT_BYTES), np.array([i], np.uint64)) for i in numbers]
        if all(tier.store(blocks)):
            os.write(report, bytes(numbers))


def kill_one(folder: Path, chance: random.Random) -> list[int]:
    """Return the numbers of the last store that was finished, if any."""
    readable, report = os.pipe()
    is_own = chance.random() < 0.7
    last_step = chance.randint(1, 6 * STEPS_OF_A_STORE) if is_own else 0
    seed = chance.random()
    child = os.fork()
    if child == 0:
        try:
            store_until_killed(folder, random.Random(seed), report, last_step)
        finally:
            os._exit(1)
    os.close(report)
    if not is_own:
        time.sleep(chance.random() * 0.03)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit("the child ended by itself")
    with os.fdopen(readable, "rb") as finished:
        numbers = finished.read()
    return list(numbers[-2:])


def look(folder: Path, last: list[int]) -> int:
    """Reopen and compare everything; return how many blocks are there."""
    tier = open_tier(folder)
    tier.table.check_invariants()
    found = 0
    into = np.empty(SLOT_BYTES, np.uint8)
    for i in range(NUM_KEYS):
        loaded = tier.load(key_of(i), into)
        if isinstance(loaded, Loaded):
            found += 1
            if bytes(into) != bytes_of(i, SLOT_BYTES).tobytes() or loaded.checksums.tolist() != [i]:
                sys.exit(f"block {i} came back with other bytes")
        elif loaded != NotLoaded("missing", loaded.detail):
            sys.exit(f"block {i} is neither whole nor absent: {loaded}")
        if i in last and not isinstance(loaded, Loaded):
            sys.exit(f"block {i} was stored and is gone")
    tier.close()
    return found


def main() -> None:
    folder, num_kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    found = [look(folder, kill_one(folder, chance)) for _ in range(num_kills)]
    sys.stdout.write(f"{num_kills} kills, {sum(found)} blocks found whole\n")


if __name__ == "__main__":
    main()
