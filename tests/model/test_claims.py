"""Requests and claims together against a model, and every decision against contract.md's sets, in random histories."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.model.facts import Claim, Mode
from tests.model.machine import EXTRAS, RequestMachine
from tests.model.world_claims import NEVER, Deadline

LATER = st.integers(0, 4)
MODES = st.sampled_from([Mode.PROTECTING] * 4 + [Mode.SOFT, Mode.SOFT, Mode.BEST_EFFORT])


class ClaimMachine(RequestMachine):
    def deadline(self, data: st.DataObject) -> Deadline:
        world = self.world
        if data.draw(st.integers(0, 2), label="has a deadline"):
            return Deadline()
        return data.draw(
            st.one_of(
                st.builds(Deadline, step=LATER.map(lambda later: world.num_steps + later)),
                st.builds(Deadline, allocations=LATER.map(lambda later: world.num_allocations + 3 * later)),
                st.builds(Deadline, now_ns=LATER.map(lambda later: world.now_ns + later)),
            ),
            label="deadline",
        )

    def live(self, *modes: Mode) -> list[Claim]:
        return [claim for claim in self.world.facts.claims.values() if claim.mode in modes]

    def order(self, data: st.DataObject) -> list[int]:
        """Some protecting claims in any order."""
        claims = [claim.claim for claim in self.live(Mode.PROTECTING)]
        return data.draw(st.permutations(claims), label="order")[: data.draw(st.integers(0, 8), label="of them")]

    @rule(data=st.data(), mode=MODES, extras=EXTRAS, budget=st.sampled_from([2**31, 2**31, 2**31, 4]))
    def accept(self, data: st.DataObject, mode: Mode, extras: tuple[bytes | None, ...], budget: int) -> None:
        root, tokens = self.text(data)
        footprint = len(tokens) // self.world.facts.block_size
        if footprint == 0:
            return
        start = data.draw(st.sampled_from([0, 0, data.draw(st.integers(0, footprint - 1))]), label="start")
        end = data.draw(st.sampled_from([footprint, data.draw(st.integers(start + 1, footprint))]), label="end")
        tokens = tokens[: footprint * self.world.facts.block_size]
        self.texts.append((root, tokens))
        self.world.accept(tokens, (start, end), mode, root, extras[:footprint], budget, self.deadline(data))

    @precondition(lambda self: self.world.facts.claims)
    @rule(data=st.data(), how=st.sampled_from(["released", "demoted"]))
    def end(self, data: st.DataObject, how: str) -> None:
        self.world.end(data.draw(st.sampled_from(list(self.world.facts.claims.values()))), how)

    @precondition(lambda self: self.world.facts.claims)
    @rule(data=st.data())
    def set_deadline(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(list(self.world.facts.claims.values())))
        self.world.set_deadline(claim, self.deadline(data))

    @rule(passed=st.integers(1, 3))
    def wait(self, passed: int) -> None:
        self.world.now_ns += passed

    @rule(data=st.data(), new=st.sampled_from([NEVER, 0, 3, 9]), extras=EXTRAS)
    def ask(self, data: st.DataObject, new: int, extras: tuple[bytes | None, ...]) -> None:
        root, tokens = self.text(data)
        self.world.ask(tokens, new, root, extras, self.order(data))

    @precondition(lambda self: self.those("preempted"))
    @rule(data=st.data())
    def ask_resume(self, data: st.DataObject) -> None:
        self.world.ask_resume(data.draw(st.sampled_from(self.those("preempted"))), self.order(data))

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data(), num_tokens=st.integers(0, 9))
    def ask_growth(self, data: st.DataObject, num_tokens: int) -> None:
        self.world.ask_growth(data.draw(st.sampled_from(self.those("running"))), num_tokens, self.order(data))

    @precondition(lambda self: not self.world.steps)
    @rule(data=st.data())
    def invalidate(self, data: st.DataObject) -> None:
        ids = st.integers(0, self.world.facts.usable - 1).map(lambda block: block + self.world.first_block)
        self.world.invalidate(data.draw(st.lists(ids, min_size=1, max_size=2), label="blocks"))

    @precondition(lambda self: not self.world.steps)
    @rule(often=st.integers(0, 9))
    def reset(self, often: int) -> None:
        if often == 0:
            self.world.reset()


TestClaims = ClaimMachine.TestCase
TestClaims.settings = settings(settings.default, max_examples=150, stateful_step_count=50)
