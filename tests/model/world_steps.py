"""Steps on a World: planned, run by a model that really reads and writes KV slots, committed or failed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from residentkv import _core
from tests.model.facts import Mode, Request
from tests.model.world import Entry, Step, World
from tests.support.native import ints


class StepWorld(World):
    # --- plan ---

    def plan(self, fed: Mapping[int, Sequence[int]]) -> Step | _core.StepShortage:
        """Plan the next tokens: for each request (by key), the ids that will be fed. Known tokens must be repeated."""
        requests = [self.request(key) for key in fed]
        counts = [len(ids) for ids in fed.values()]
        needed = [self._needed(requests, counts, waiting=waiting) for waiting in (0, 1)]
        refused = [request for request, count in zip(requests, counts, strict=True) if self._is_refused(request, count)]
        room = self.facts.room
        self.due = self.crossed(self.num_steps + 1, self.num_allocations + max(needed))
        answer = self.core.plan_step(ints(*(request.row for request in requests)), ints(*counts), self.now_ns, None)
        self.book.journal.add(self.core.drain())
        if isinstance(answer, _core.StepShortage):
            if answer.deadline_due:
                assert self.due
                self.settle()
                return answer
            assert refused or max(needed) > room, "NeedsRoom although there is room"
            assert answer.refused_row == (refused[0].row if refused else -1)
            assert refused or answer.rows.tolist()
            self.due = []
            self.settle()
            return answer
        self.due = []
        assert not self.crossed(self.num_steps + 1, self.num_allocations + min(needed))
        assert not refused
        assert min(needed) <= room
        step = self._launch(answer, requests, list(fed.values()))
        self.steps.append(step)
        self.num_steps += 1
        self.settle()
        return step

    def _needed(self, requests: Sequence[Request], counts: Sequence[int], *, waiting: int) -> int:
        """Blocks the step takes: growth, and a copy of every block that somebody else would still see."""
        size, taken = self.facts.block_size, 0
        holders: dict[int, int] = {}
        for request, count in zip(requests, counts, strict=True):
            end = -(-(request.planned + count) // size)
            taken += max(0, end - len(request.blocks))
            for block in request.blocks[request.planned // size : end]:
                left = holders.setdefault(block, self._num_sharers(block, waiting=waiting))
                if left > 1:
                    taken += 1
                    holders[block] = left - 1
        return taken

    def _num_sharers(self, block: int, *, waiting: int) -> int:
        kept = sum(block == source for step in self.steps for source, _ in step.copies)
        return sum(request.blocks.count(block) for request in self.facts.requests) + waiting * kept

    def _is_refused(self, request: Request, count: int) -> bool:
        end = request.planned + count
        if request.limit is not None or end <= request.peak * self.facts.block_size:
            return False
        demand = replace(self.facts.demand(request), peak=-(-end // self.facts.block_size))
        return len(self.facts.protected | self.facts.peak_set(demand)) > self.facts.usable

    def _launch(self, plan: _core.StepPlan, requests: Sequence[Request], fed: Sequence[Sequence[int]]) -> Step:
        size = self.facts.block_size
        assert plan.step_id == self.num_steps + 1
        assert plan.rows.tolist() == [request.row for request in requests]
        rows = self.shadow.launches(plan, [len(ids) for ids in fed])
        copies = [(source, target) for source, target in plan.copies.tolist()]
        for request, ids in zip(requests, fed, strict=True):
            self._grow(request, len(ids), copies)
        step = Step(plan.step_id, [], copies)
        for request, ids, (table, slots) in zip(requests, fed, rows, strict=True):
            first = request.planned
            assert len(table) * size >= first + len(ids) == plan.context_lens.tolist()[len(step.entries)]
            assert table == request.blocks[: len(table)]
            for block in table[first // size :]:
                sharers = [other for other in self.facts.requests if block in other.blocks]
                assert sharers == [request], "a row writes into a block that another request holds"
            step.entries.append(Entry(request, first, list(ids), request.epoch, table, slots))
            request.stream = [*request.stream[:first], *ids]
            request.planned = first + len(ids)
            request.peak = max(request.peak, -(-request.planned // size))
            request.num_in_flight += 1
        assert all(any(target in entry.table for entry in step.entries) for _, target in copies)
        return step

    def _grow(self, request: Request, count: int, copies: list[tuple[int, int]]) -> None:
        """Read which blocks the row has now: grown at the end, and its own instead of shared ones."""
        size, before = self.facts.block_size, request.blocks
        after: list[int] = self.core.request_blocks(request.row).tolist()
        end = -(-(request.planned + count) // size)
        assert len(after) == max(len(before), end)
        for index, (old, new) in enumerate(zip(before, after, strict=False)):
            if old == new:
                continue
            assert request.planned // size <= index < end, "a block changed that is not written"
            assert self._num_sharers(old, waiting=1) > 1, "a copy that nobody needs"
            written = index * size < request.planned
            assert ((old, new) in copies) == written
        taken = [block for i, block in enumerate(after) if i >= len(before) or block != before[i]]
        self.take(taken, request)
        request.blocks = after

    # --- commit and fail ---

    def commit(self, valid: Sequence[int] | None = None) -> None:
        """Run the oldest step and commit it; `valid[i]` planned tokens of row i were right."""
        step = self.steps[0]
        kept = [len(entry.fed) for entry in step.entries] if valid is None else list(valid)
        ids: list[int] = []
        for entry, count in zip(step.entries, kept, strict=True):
            known = max(len(entry.request.tokens), entry.first)
            ids += entry.fed[known - entry.first : count]
        self._execute(step)
        replaced = self.core.commit_step(step.number, None if valid is None else ints(*kept), ints(*ids))
        self.book.journal.add(self.core.drain())
        self.steps.pop(0)
        merged = {(entry.row, entry.index): (entry.old_block, entry.new_block) for entry in replaced}
        assert len(merged) == len(replaced)
        for entry, count in zip(step.entries, kept, strict=True):
            self._commit_entry(entry, count, merged)
        assert not merged, f"replaced without reason: {merged}"
        self._retire_step(step)
        self.settle()

    def _execute(self, step: Step) -> None:
        self.shadow.copy(step.copies)
        for entry in step.entries:
            request = entry.request
            stream = [*request.stream[: entry.first], *entry.fed]
            content = self.content(request, stream)
            if entry.epoch == request.epoch:
                seen = self.shadow.read(entry.table, entry.first)
                assert seen == content[: entry.first], f"step {step.number} reads wrong KV: {seen}"
                self.shadow.overwrite(entry.slots, content[entry.first :])
            else:  # what runs after its request went another way writes rubbish, into slots that must be nobody else's
                self.shadow.spoil(entry.slots)

    def _commit_entry(self, entry: Entry, count: int, merged: dict[tuple[int, int], tuple[int, int]]) -> None:
        request = entry.request
        request.num_in_flight -= 1
        if entry.epoch != request.epoch:
            self.retire(request)
            return
        written = entry.first + count
        if written > len(request.tokens):
            request.tokens += entry.fed[len(request.tokens) - entry.first : count]
        request.written = written
        if count < len(entry.fed):
            request.planned = written
            request.stream = request.stream[:written]
            request.epoch += 1
        self._publish(request, merged)

    def _publish(self, request: Request, merged: dict[tuple[int, int], tuple[int, int]]) -> None:
        facts = self.facts
        nodes = facts.nodes(request)
        while not request.stopped and len(request.published) < request.written // facts.block_size:
            index = len(request.published)
            node, own = nodes[index], request.blocks[index]
            parent = nodes[index - 1] if index else None
            canonical = facts.indexed.get(node)
            if canonical is None:
                if not request.reuse and node not in facts.named(*Mode):
                    request.stopped = True
                    return
                self.book.publish(node, parent, own, request)
            elif (request.row, index) in merged:
                assert merged.pop((request.row, index)) == (own, canonical)
                request.blocks[index] = canonical
                if request.num_in_flight:
                    facts.waiting.append((self.steps[-1].number, own))
            else:  # no room to hold both: the idle copy makes way for the new one
                assert node in facts.cached
                assert facts.room == 0
                facts.indexed[node] = own
            request.published.append(node)

    def fail(self, number: int) -> None:
        failed = [step for step in self.steps if step.number >= number]
        assert list(self.core.fail_step(number)) == [step.number for step in failed]
        self.book.journal.add(self.core.drain())
        self.steps = [step for step in self.steps if step.number < number]
        for step in reversed(failed):
            for entry in step.entries:
                self.shadow.spoil(entry.slots)
                request = entry.request
                request.num_in_flight -= 1
                if entry.epoch == request.epoch:
                    request.planned = entry.first
                    request.stream = request.stream[: entry.first]
                    self._uncopy(request, step)
                self.retire(request)
            self._retire_step(step)
        self.settle()

    def _uncopy(self, request: Request, step: Step) -> None:
        """Whatever the row has now instead of its copies, its contents are checked when it next runs."""
        after: list[int] = self.core.request_blocks(request.row).tolist()
        originals = {target: source for source, target in step.copies}
        for index, (old, new) in enumerate(zip(request.blocks, after, strict=True)):
            assert new in (old, originals.get(old))
            request.blocks[index] = new

    def _retire_step(self, step: Step) -> None:
        self.facts.waiting = [(number, block) for number, block in self.facts.waiting if number != step.number]

    # --- rewind ---

    def rewind(self, request: Request, num_tokens: int) -> None:
        size = self.facts.block_size
        self.core.rewind(request.row, num_tokens)
        self.book.journal.add(self.core.drain())
        request.epoch += 1
        request.written, request.planned = min(request.written, num_tokens), num_tokens
        request.stream = request.stream[:num_tokens]
        request.tokens = request.tokens[: max(request.num_prompt, num_tokens)]
        num_blocks = -(-max(num_tokens, request.num_prompt) // size)
        for block in request.blocks[num_blocks:]:
            if request.num_in_flight:
                self.facts.waiting.append((self.steps[-1].number, block))
        request.blocks = request.blocks[:num_blocks]
        self.settle()

    def request(self, key: int) -> Request:
        [request] = [request for request in self.facts.requests if request.key == key]
        return request
