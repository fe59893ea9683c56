"""Steps on a World: planned, run by a model that really reads and writes KV slots, committed or failed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from residentkv import _core
from tests.model.facts import Mode, Request
from tests.model.world import Departure, Entry, Step, World
from tests.support.native import ints


class StepWorld(World):
    # --- plan ---

    def plan(self, fed: Mapping[int, Sequence[int]]) -> Step | _core.StepShortage:
        """Plan the next tokens: for each request (by key), the ids that will be fed. Known tokens must be repeated."""
        requests = [self.request(key) for key in fed]
        counts = [len(ids) for ids in fed.values()]
        refused = [request for request, count in zip(requests, counts, strict=True) if self._is_refused(request, count)]
        needed, without_room = self._needed(requests, counts, refused)
        shortfall = max(0, needed - self.facts.room)
        self.due = self.crossed(self.num_allocations)
        if not (self.due or refused or shortfall):
            self.due = self.crossed(self.num_allocations + needed)

        answer = self.core.plan_step(ints(*(request.row for request in requests)), ints(*counts), self.now_ns, None)
        self.book.journal.add(self.core.drain())
        if isinstance(answer, _core.StepShortage):
            assert answer.deadline_due == bool(self.due)
            if not self.due:
                assert refused or shortfall, "NeedsRoom although there is room"
                assert answer.refused_row == (refused[0].row if refused else -1)
                assert (answer.shortfall, answer.rows.tolist()) == (shortfall, [entry.row for entry in without_room])
            self.settle()
            return answer
        assert not self.due
        assert not refused
        assert not shortfall
        step = self._launch(answer, requests, list(fed.values()))
        self.steps.append(step)
        self.num_steps += 1
        self.settle()
        return step

    def _needed(
        self, requests: Sequence[Request], counts: Sequence[int], refused: Sequence[Request]
    ) -> tuple[int, list[Request]]:
        """Blocks the step takes, and the requests at which they run out: growth, and leaving shared blocks."""
        size, needed = self.facts.block_size, 0
        without_room = []
        left: dict[int, list[int]] = {}  # tokens that those who leave a shared block want to copy
        for request, count in zip(requests, counts, strict=True):
            if request in refused:
                continue
            before = needed
            end = -(-(request.planned + count) // size)
            needed += max(0, end - len(request.blocks))
            for block in request.blocks[request.planned // size : end]:
                copied = left.setdefault(block, [])
                num_others = self.facts.num_holders(block) - len(copied) - 1
                # The last one writes in place, unless that would overwrite what the others are about to copy.
                if num_others > 0 or any(request.planned < tokens for tokens in copied):
                    copied.append(request.planned)
                    needed += 1
            if needed > self.facts.room and needed > before:
                without_room.append(request)
        return needed, without_room

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
        step = Step(plan.step_id, [], copies, self._depart(requests, fed, copies))
        for request, ids in zip(requests, fed, strict=True):
            blocks: list[int] = self.core.request_blocks(request.row).tolist()
            grown = max(len(request.blocks), -(-(request.planned + len(ids)) // size))
            assert len(blocks) == grown
            self.take(blocks[len(request.blocks) :], request)
            request.blocks = blocks
        for request, ids, (table, slots) in zip(requests, fed, rows, strict=True):
            first = request.planned
            assert len(table) * size >= first + len(ids) == plan.context_lens.tolist()[len(step.entries)]
            assert table == request.blocks[: len(table)]
            for block in table[first // size :]:
                sharers = [other for other in self.facts.requests if block in other.blocks]
                assert sharers == [request], "a row writes into a block that another request holds"
            step.entries.append(Entry(request, first, list(ids), request.epoch, table, slots, len(ids)))
            request.stream = [*request.stream[:first], *ids]
            request.planned = first + len(ids)
            request.peak = max(request.peak, -(-request.planned // size))
            request.num_in_flight += 1
        return step

    def _depart(
        self, requests: Sequence[Request], fed: Sequence[Sequence[int]], copies: list[tuple[int, int]]
    ) -> list[Departure]:
        """Read which rows left shared blocks, and check that exactly what they need was copied."""
        size = self.facts.block_size
        departures = []
        for request, ids in zip(requests, fed, strict=True):
            after = self.core.request_blocks(request.row).tolist()
            for index, shared in enumerate(request.blocks):
                if after[index] != shared:
                    assert request.planned // size <= index < -(-(request.planned + len(ids)) // size)
                    departures.append(Departure(request, index, shared, after[index]))
        for departure in departures:
            self.facts.waiting.append((self.num_steps + 1, departure.shared))
            self.take([departure.own], departure.request)
            departure.request.blocks[departure.index] = departure.own
        needed = [departure for departure in departures if departure.index * size < departure.request.planned]
        assert copies == [(departure.shared, departure.own) for departure in needed]
        return departures

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
            if entry.epoch == request.epoch and entry.kept > 0:
                seen = self.shadow.read(entry.table, entry.first)
                assert seen == content[: entry.first], f"step {step.number} reads wrong KV: {seen}"
                self.shadow.overwrite(entry.slots, content[entry.first :])
            else:  # what runs after its request went another way writes rubbish, into slots that must be nobody else's
                self.shadow.spoil(entry.slots)

    def _commit_entry(self, entry: Entry, count: int, merged: dict[tuple[int, int], tuple[int, int]]) -> None:
        request = entry.request
        request.num_in_flight -= 1
        if entry.epoch != request.epoch or entry.kept == 0:
            self.retire(request)
            return
        count = min(count, entry.kept)
        written = entry.first + count
        if written > len(request.tokens):
            request.tokens += entry.fed[len(request.tokens) - entry.first : count]
        request.written = written
        if count < entry.kept:  # rejected, and with it everything planned after it
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
            for departure in step.departures:
                blocks = departure.request.blocks
                if departure.index < len(blocks) and blocks[departure.index] == departure.own:
                    blocks[departure.index] = departure.shared
            for entry in step.entries:
                self.shadow.spoil(entry.slots)
                request = entry.request
                request.num_in_flight -= 1
                if entry.epoch == request.epoch and entry.kept > 0:
                    request.planned = entry.first
                    request.stream = request.stream[: entry.first]
                self.retire(request)
            self._retire_step(step)
        self.settle()

    def _retire_step(self, step: Step) -> None:
        self.facts.waiting = [(number, block) for number, block in self.facts.waiting if number != step.number]

    # --- rewind ---

    def rewind(self, request: Request, num_tokens: int) -> None:
        size = self.facts.block_size
        self.core.rewind(request.row, num_tokens)
        self.book.journal.add(self.core.drain())
        for entry in [entry for step in self.steps for entry in step.entries]:
            if entry.request is request and entry.epoch == request.epoch:
                entry.kept = max(0, min(entry.kept, num_tokens - entry.first))
        request.written, request.planned = min(request.written, num_tokens), num_tokens
        request.stream = request.stream[:num_tokens]
        request.tokens = request.tokens[: max(request.num_fixed, num_tokens)]
        num_blocks = -(-max(num_tokens, request.num_fixed) // size)
        for block in request.blocks[num_blocks:]:
            if request.num_in_flight:
                self.facts.waiting.append((self.steps[-1].number, block))
        request.blocks = request.blocks[:num_blocks]
        self.settle()

    def request(self, key: int) -> Request:
        [request] = [request for request in self.facts.requests if request.key == key]
        return request
