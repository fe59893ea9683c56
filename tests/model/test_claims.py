"""Requests and claims together against a model, and every decision against contract.md's sets, in random histories."""

from typing import ClassVar

from hypothesis import strategies as st

from tests.model.facts import Claim, Mode
from tests.model.machine import EXTRAS, NEW, RequestMachine
from tests.model.world_claims import Deadline

MODES = st.sampled_from([Mode.PROTECTING] * 4 + [Mode.SOFT, Mode.SOFT, Mode.BEST_EFFORT])
BUDGETS = st.sampled_from([2**31, 2**31, 2**31, 4])
CLOCKS = st.sampled_from(["none"] * 6 + ["step", "allocations", "now_ns"])


class ClaimMachine(RequestMachine):
    WEIGHTS: ClassVar = {
        **RequestMachine.WEIGHTS,
        "accept": 8,
        "end": 3,
        "ask": 8,
        "ask_resume": 2,
        "ask_growth": 3,
        "pass_time": 1,
        "invalidate": 1,
    }

    def can(self, action: str) -> bool:
        claims = {
            "accept": True,
            "end": bool(self.world.facts.claims),
            "ask": True,
            "ask_resume": bool(self.those("preempted")),
            "ask_growth": bool(self.those("running")),
            "pass_time": bool(self.world.facts.claims),
            "invalidate": not self.world.steps and bool(self.world.facts.indexed),
        }
        return claims[action] if action in claims else super().can(action)

    def deadline(self, data: st.DataObject) -> Deadline:
        clock = data.draw(CLOCKS, label="clock")
        later = 0 if clock == "none" else data.draw(st.integers(0, 12), label="later")
        now = {"step": self.world.num_steps, "allocations": self.world.num_allocations, "now_ns": self.world.now_ns}
        return Deadline() if clock == "none" else Deadline(**{clock: now[clock] + later})

    def claim(self, data: st.DataObject) -> Claim:
        return data.draw(st.sampled_from(list(self.world.facts.claims.values())))

    def order(self, data: st.DataObject) -> list[int]:
        """Some protecting claims in any order."""
        claims = [claim.claim for claim in self.world.facts.claims.values() if claim.mode is Mode.PROTECTING]
        most = data.draw(st.sampled_from([8, 8, 8, 2, 1]), label="of them")
        return data.draw(st.permutations(claims), label="order")[:most]

    def accept(self, data: st.DataObject) -> None:
        root, tokens = self.text(data)
        mode, extras = data.draw(MODES, label="mode"), data.draw(EXTRAS, label="extras")
        size = self.world.facts.block_size
        footprint = len(tokens) // size
        if footprint == 0:
            return
        start = data.draw(st.sampled_from([0, 0, footprint // 2]), label="start")
        end = data.draw(st.sampled_from([footprint, start + 1]), label="end")
        budget = data.draw(BUDGETS, label="budget")
        tokens = tokens[: footprint * size]
        self.world.accept(tokens, (start, end), mode, root, extras[:footprint], budget, self.deadline(data))

    def end(self, data: st.DataObject) -> None:
        self.world.end(self.claim(data), data.draw(st.sampled_from(["released", "demoted"])))

    def pass_time(self, data: st.DataObject) -> None:
        self.world.now_ns += data.draw(st.integers(1, 3), label="passed")
        self.world.set_deadline(self.claim(data), self.deadline(data))

    def ask(self, data: st.DataObject) -> None:
        root, tokens = self.text(data)
        new, extras = data.draw(NEW, label="new"), data.draw(EXTRAS, label="extras")
        self.world.ask(tokens, new, root, extras, self.order(data))

    def ask_resume(self, data: st.DataObject) -> None:
        self.world.ask_resume(data.draw(st.sampled_from(self.those("preempted"))), self.order(data))

    def ask_growth(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.those("running")))
        self.world.ask_growth(request, data.draw(st.integers(0, 9), label="more"), self.order(data))

    def invalidate(self, data: st.DataObject) -> None:
        if data.draw(st.integers(0, 9), label="everything") == 9:
            self.world.reset()
            return
        block = data.draw(st.sampled_from(sorted(self.world.facts.indexed.values())), label="bad")
        other = data.draw(st.integers(0, self.world.facts.usable - 1), label="as well")
        self.world.invalidate([block, other + self.world.first_block])


TestClaims = ClaimMachine.TestCase
