"""`residentkv._core` with short names for what tests do. Every call is followed by the full self-check.

Tokens are written as text: a letter is one block, a dot is one token of its own, so "abc.." is three full blocks and
half a block. Different letters share no token.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from residentkv import _core

BLOCK = 4
Int32Array = NDArray[np.int32]


def ints(*values: int) -> Int32Array:
    return np.array(values, dtype=np.int32)


def words(text: str, block_size: int = BLOCK) -> Int32Array:
    """Tokens of `text`. A dot's token depends on its position alone and differs from every letter's."""
    tokens: list[int] = []
    for letter in text:
        if letter == ".":
            tokens.append(10 * len(tokens))
        else:
            tokens.extend(1000 * ord(letter) + i for i in range(block_size))
    return ints(*tokens)


@dataclass(frozen=True)
class Event:
    """One drained record. Numbers that do not apply are None."""

    name: str
    request: int | None
    claim: int | None
    block: int | None
    position: int | None
    required: int | None
    materialized: int | None
    leading: int | None
    cause: int
    predicate: tuple[bool, bool]
    is_protected: bool
    sequence: int
    timestamp_ns: int


def to_event(record: Any) -> Event:
    def some(field: str) -> int | None:
        value = int(record[field])
        return None if value in (-1, _core.NO_CLAIM, _core.NO_REQUEST) else value

    return Event(
        name=_core.EVENT_KINDS[record["kind"]],
        request=some("request"),
        claim=some("claim"),
        block=some("block"),
        position=some("position"),
        required=some("required"),
        materialized=some("materialized"),
        leading=some("leading"),
        cause=int(record["cause"]),
        predicate=(bool(record["predicate_before"]), bool(record["predicate_after"])),
        is_protected=bool(record["is_protected"]),
        sequence=int(record["sequence"]),
        timestamp_ns=int(record["timestamp_ns"]),
    )


class Native:
    """A manager of `usable` blocks of 4 tokens."""

    def __init__(self, usable: int = 16, **options: Any) -> None:
        self.block_size: int = options.get("block_size", BLOCK)
        self.now_ns = 0
        self.core = _core.BlockManager(
            **{
                "usable_blocks": usable,
                "block_size": BLOCK,
                "null_block": True,
                "max_requests": 16,
                "max_blocks_per_request": usable,
                "hash_seed": 1,
                "block_events": True,
                "retain_events": True,
                **options,
            }
        )
        self._next_key = 1

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        answer = getattr(self.core, name)(*arguments, **named)
        self.core.check_invariants()
        return answer

    def tokens(self, text: str | Int32Array) -> Int32Array:
        return words(text, self.block_size) if isinstance(text, str) else text

    # --- requests ---

    def admit(
        self,
        text: str | Int32Array,
        new: int = -1,
        *,
        root: int = 0,
        extra: Sequence[bytes | None] | None = None,
        reuse: bool = True,
        key: int | None = None,
    ) -> _core.Decision:
        self._next_key += 1
        key = self._next_key if key is None else key
        answer: _core.Decision = self.call("admit", key, root, self.tokens(text), new, extra, reuse, self.now_ns)
        return answer

    def compute(self, row: int) -> tuple[_core.Replaced, ...]:
        """Run one step over all known tokens of `row` that have no KV yet."""
        facts = self.core.request_facts(row)
        return self.step({row: facts.num_known_tokens - facts.num_written_tokens})

    def prefill(self, text: str | Int32Array, new: int = -1, **admission: Any) -> int:
        """Admit and compute; the row."""
        decision = self.admit(text, new, **admission)
        assert decision.outcome == _core.ADMITTED, decision.outcome
        self.compute(decision.row)
        return decision.row

    def cache(self, *texts: str | Int32Array, **admission: Any) -> None:
        """Leave the full blocks of every text computed and idle."""
        for text in texts:
            self.finish(self.prefill(text, **admission))

    def finish(self, *rows: int) -> None:
        for row in rows:
            self.call("finish", row)

    def blocks(self, row: int) -> list[int]:
        return self.core.request_blocks(row).tolist()

    # --- steps ---

    def plan(self, counts: Mapping[int, int], out: _core.StepBuffers | None = None) -> _core.StepPlan:
        answer = self.try_plan(counts, out)
        assert isinstance(answer, _core.StepPlan), (answer.shortfall, answer.rows, answer.refused_row)
        return answer

    def try_plan(
        self, counts: Mapping[int, int], out: _core.StepBuffers | None = None
    ) -> _core.StepPlan | _core.StepShortage:
        answer: _core.StepPlan | _core.StepShortage = self.call(
            "plan_step", ints(*counts), ints(*counts.values()), self.now_ns, out
        )
        return answer

    def commit(
        self, plan: _core.StepPlan, ids: Iterable[int] = (), valid: Sequence[int] | None = None
    ) -> tuple[_core.Replaced, ...]:
        answer: tuple[_core.Replaced, ...] = self.call(
            "commit_step", plan.step_id, None if valid is None else ints(*valid), ints(*ids)
        )
        return answer

    def fail(self, plan: _core.StepPlan) -> tuple[int, ...]:
        answer: tuple[int, ...] = self.call("fail_step", plan.step_id)
        return answer

    def step(
        self, counts: Mapping[int, int], ids: Iterable[int] = (), valid: Sequence[int] | None = None
    ) -> tuple[_core.Replaced, ...]:
        return self.commit(self.plan(counts), ids, valid)

    def decode(self, row: int, *ids: int) -> None:
        """One step for each id."""
        for token in ids:
            self.step({row: 1}, [token])

    # --- claims ---

    def claim(self, text: str | Int32Array, mode: int = _core.MODE_PROTECTING, **options: Any) -> _core.ClaimAnswer:
        """Claim every full block of `text`; the predicate needs them all unless said otherwise."""
        tokens = self.tokens(text)
        footprint = options.pop("footprint", len(tokens) // self.block_size)
        start = options.pop("start", 0)
        answer: _core.ClaimAnswer = self.call(
            "accept_claim",
            **{
                "root": 0,
                "tokens": tokens,
                "extra_keys": None,
                "footprint_blocks": footprint,
                "predicate_start": start,
                "predicate_blocks": options.pop("count", footprint - start),
                "mode": mode,
                "max_protected_blocks": 2**31,
                "deadline_step": -1,
                "deadline_allocations": -1,
                "deadline_ns": -1,
                "now_ns": self.now_ns,
                **options,
            },
        )
        return answer

    def accept(self, text: str | Int32Array, mode: int = _core.MODE_PROTECTING, **options: Any) -> int:
        """Claim, and insist on acceptance; the claim's number."""
        answer = self.claim(text, mode, **options)
        assert answer.outcome == _core.CLAIM_ACCEPTED, answer.outcome
        return answer.claim

    def end(self, claim: int, how: str = "released") -> int:
        sequence: int = self.call("end_claim", claim, f"resident_claim_{how}", self.now_ns)
        return sequence

    def claim_blocks(self, claim: int) -> list[int]:
        return self.core.claim_blocks(claim).tolist()

    def conflict(self, text: str | Int32Array, new: int = -1, root: int = 0) -> _core.Conflict:
        answer: _core.Conflict = self.call("conflict", root, self.tokens(text), new, None)
        return answer

    def invalidate(self, *blocks: int, cause: int = 7) -> list[int]:
        rows: list[int] = self.call("invalidate", ints(*blocks), cause, self.now_ns).tolist()
        return rows

    # --- watching ---

    def events(self) -> list[Event]:
        """Everything recorded since the last call."""
        return [to_event(record) for record in self.core.drain_events()]

    def names(self) -> list[str]:
        """Names of the events since the last look, without what they have in common."""
        return [
            event.name.removeprefix("resident_").removeprefix("claim_").removeprefix("active_request_")
            for event in self.events()
        ]

    def counts(self, *names: str) -> tuple[int, ...]:
        counts = self.core.counts()
        return tuple(getattr(counts, name) for name in names)
