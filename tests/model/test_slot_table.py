"""The slot table against a model too simple to be wrong: a dictionary of slots, looked through from end to end."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from residentkv._core import SlotTable
from residentkv.contract.errors import ContractError
from tests.support.blocks import key_of

NUM_SLOTS = 4
NUM_KEYS = 7
KEYS = st.integers(0, NUM_KEYS - 1)
SLOTS = st.integers(0, NUM_SLOTS - 1)


@dataclass
class Slot:
    state: str = "free"
    number: int = -1
    priority: int = 0
    used: int = 0
    wanting: int = 0
    reading: int = 0

    @property
    def is_evictable(self) -> bool:
        return self.state == "ready" and self.wanting == self.reading == 0

    @property
    def is_lent(self) -> bool:
        return self.reading > 0 and (self.state == "draining" or (self.state == "ready" and self.wanting == 0))


class SlotTableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = SlotTable(num_slots=NUM_SLOTS)
        self.slots = {slot: Slot() for slot in range(NUM_SLOTS)}
        self.reserved = 0
        self.clock = 0

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def having(self, number: int) -> int | None:
        held = (slot for slot, it in self.slots.items() if it.state in ("filling", "ready") and it.number == number)
        return next(held, None)

    def count(self, **wanted: object) -> int:
        return sum(all(getattr(it, name) == value for name, value in wanted.items()) for it in self.slots.values())

    @property
    def num_now(self) -> int:
        return self.count(state="free") + self.count(is_evictable=True)

    @property
    def num_room(self) -> int:
        return self.num_now + self.count(is_lent=True)

    def refused(self, call, *arguments: object) -> None:
        with pytest.raises(ContractError):
            call(*arguments)

    def filled(self, number: int, priority: int, answer: tuple[int, bytes | None] | None) -> None:
        assert answer is not None
        slot, evicted = answer
        free = [name for name, it in self.slots.items() if it.state == "free"]
        if free:
            assert slot in free
            assert evicted is None
        else:
            victims = [(it.priority, it.used, name) for name, it in self.slots.items() if it.is_evictable]
            assert slot == min(victims)[2]
            assert evicted == key_of(self.slots[slot].number)
        self.slots[slot] = Slot("filling", number, priority, self.tick())

    @rule(count=st.integers(0, NUM_SLOTS + 1))
    def reserve(self, count: int) -> None:
        fits = self.reserved + count <= self.num_room
        assert self.table.reserve(count) == fits
        self.reserved += count if fits else 0

    @rule(count=st.integers(0, NUM_SLOTS))
    def forfeit(self, count: int) -> None:
        if count > self.reserved:
            return self.refused(self.table.forfeit, count)
        self.table.forfeit(count)
        self.reserved -= count
        return None

    @rule(number=KEYS, priority=st.integers(0, 2))
    def begin_fill(self, number: int, priority: int) -> None:
        if self.having(number) is not None:
            return self.refused(self.table.begin_fill, key_of(number), priority)
        answer = self.table.begin_fill(key_of(number), priority)
        if self.num_now == 0 or self.num_room <= self.reserved:
            assert answer is None
        else:
            self.filled(number, priority, answer)
        return None

    @rule(number=KEYS)
    def begin_fill_reserved(self, number: int) -> None:
        if self.having(number) is not None or self.reserved == 0:
            return self.refused(self.table.begin_fill_reserved, key_of(number))
        answer = self.table.begin_fill_reserved(key_of(number))
        if self.num_now == 0:
            assert answer is None
        else:
            self.filled(number, 2**32 - 1, answer)
            self.reserved -= 1
        return None

    @rule(slot=SLOTS)
    def finish_fill(self, slot: int) -> None:
        if self.slots[slot].state != "filling":
            return self.refused(self.table.finish_fill, slot, np.zeros(0, np.uint64))
        self.table.finish_fill(slot, np.array([self.slots[slot].number], np.uint64))
        self.slots[slot].state = "ready"
        return None

    @rule(slot=SLOTS)
    def abort_fill(self, slot: int) -> None:
        if self.slots[slot].state != "filling":
            return self.refused(self.table.abort_fill, slot)
        self.table.abort_fill(slot)
        self.slots[slot] = Slot()
        return None

    @rule(number=KEYS)
    def find(self, number: int) -> None:
        slot = self.having(number)
        expected = slot if slot is not None and self.slots[slot].state == "ready" else None
        assert self.table.find(key_of(number)) == expected
        assert self.table.has(key_of(number)) == (slot is not None)
        if expected is not None:
            assert self.table.checksums(expected).tolist() == [number]
            self.slots[expected].used = self.tick()

    @rule(slot=SLOTS)
    def begin_read(self, slot: int) -> None:
        if self.slots[slot].state != "ready":
            return self.refused(self.table.begin_read, slot)
        self.table.begin_read(slot)
        self.slots[slot].reading += 1
        self.slots[slot].used = self.tick()
        return None

    @rule(slot=SLOTS)
    def end_read(self, slot: int) -> None:
        it = self.slots[slot]
        if it.reading == 0:
            return self.refused(self.table.end_read, slot)
        self.table.end_read(slot)
        it.reading -= 1
        if it.state == "draining" and it.reading == 0:
            self.slots[slot] = Slot()
        return None

    @rule(slot=SLOTS)
    def want(self, slot: int) -> None:
        it = self.slots[slot]
        is_promised = (it.is_evictable or it.is_lent) and self.num_room <= self.reserved
        if it.state not in ("filling", "ready") or is_promised:
            return self.refused(self.table.want, slot)
        self.table.want(slot)
        it.wanting += 1
        return None

    @rule(slot=SLOTS)
    def unwant(self, slot: int) -> None:
        if self.slots[slot].wanting == 0:
            return self.refused(self.table.unwant, slot)
        self.table.unwant(slot)
        self.slots[slot].wanting -= 1
        return None

    @rule(slot=SLOTS)
    def drop(self, slot: int) -> None:
        it = self.slots[slot]
        if it.state != "ready":
            return self.refused(self.table.drop, slot)
        self.table.drop(slot)
        self.slots[slot] = Slot("draining", reading=it.reading) if it.reading else Slot()
        return None

    @precondition(lambda self: self.reserved == 0)
    @rule(slot=SLOTS, number=KEYS, priority=st.integers(0, 2))
    def adopt(self, slot: int, number: int, priority: int) -> None:
        checksums = np.array([number], np.uint64)
        if self.slots[slot].state != "free" or self.having(number) is not None:
            return self.refused(self.table.adopt, slot, key_of(number), priority, checksums)
        self.table.adopt(slot, key_of(number), priority, checksums)
        self.slots[slot] = Slot("ready", number, priority, self.tick())
        return None

    @invariant()
    def agrees(self) -> None:
        counts = self.table.counts()
        for state in ("free", "filling", "ready", "draining"):
            assert getattr(counts, state) == self.count(state=state)
        assert counts.evictable == self.count(is_evictable=True)
        assert counts.lent == self.count(is_lent=True)
        assert counts.wanted == sum(it.wanting > 0 for it in self.slots.values())
        assert counts.reserved == self.reserved
        assert [self.table.state(slot) for slot in self.slots] == [it.state for it in self.slots.values()]
        self.table.check_invariants()


TestSlotTable = SlotTableMachine.TestCase
TestSlotTable.settings = settings(max_examples=150, stateful_step_count=50)
