"""Every decision of the public manager against `contract/reference.py`, in random histories of requests and claims.

The other model tests drive the native core; this one goes through the arbiter, the record and the claim manager too.
"""

import sys

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from residentkv import ArbiterPolicy, ClaimSpec, LeadingPrefix, ProtectionMode, RelaxOrder
from residentkv.contract.arbiter import PRESERVE_CLAIMS
from tests.model.reference_world import BLOCK, IDENTITY, ReferenceWorld

MAX_CLAIMS = 8
TOKENS = st.sampled_from([1, 1, 1, 2])  # equal prefixes and near misses are the rule
TEXTS = st.builds(
    lambda head, rest: [*head, *rest],
    st.sampled_from([(), (5, 5), (6, 6), (7, 7)]),  # strangers to each other, so that claims add up
    st.lists(TOKENS, min_size=1, max_size=12),
)
MODES = st.sampled_from(
    [
        ProtectionMode.HARD_PROTECTED,
        ProtectionMode.HARD_PROTECTED,
        ProtectionMode.DEMOTABLE,
        ProtectionMode.DEMOTABLE,
        ProtectionMode.SOFT_PRIORITY,
        ProtectionMode.BEST_EFFORT,
    ]
)
POLICIES = st.sampled_from([PRESERVE_CLAIMS, ArbiterPolicy(), ArbiterPolicy(order=RelaxOrder.MOST_BLOCKS)])


class ReferenceMachine(RuleBasedStateMachine):
    world: ReferenceWorld

    @initialize(usable=st.integers(4, 24), policy=POLICIES)
    def build(self, usable: int, policy: ArbiterPolicy) -> None:
        self.world = ReferenceWorld(usable, policy, max_requests=5)
        self.num_named = 0

    def name(self, kind: str) -> str:
        self.num_named += 1
        return f"{kind}{self.num_named}"

    def longest(self, text: list[int]) -> list[int]:
        return text[: self.world.pool.usable_blocks * BLOCK]

    @rule(
        text=TEXTS,
        rest=st.integers(1, 20),
        new=st.sampled_from([None, 0, 3, 12]),
        chunk=st.integers(1, 20),
        stays=st.booleans(),
    )
    def serve(self, text: list[int], rest: int, new: int | None, chunk: int, stays: bool) -> None:
        """Admit, compute some of it; it stays or goes."""
        if len(self.world.pool.requests) == 5:
            return
        request_id = self.name("r")
        if self.world.admit(request_id, self.longest([*text, *([3] * (rest % 7))]), new):
            self.world.run(request_id, chunk)
            if not stays:
                self.world.finish(request_id)

    @rule(text=TEXTS, mode=MODES, value=st.sampled_from([None, 1.0, 2.0]))
    def submit(self, text: list[int], mode: ProtectionMode, value: float | None) -> None:
        num_blocks = len(text) // BLOCK
        if num_blocks and len(self.world.pool.claims) < MAX_CLAIMS:
            self.world.submit(
                ClaimSpec(
                    self.name("c"),
                    "owner",
                    IDENTITY,
                    text,
                    LeadingPrefix(num_blocks),
                    mode=mode,
                    predicted_value=value,
                )
            )

    @rule(data=st.data(), chunk=st.integers(1, 5))
    def run(self, data: st.DataObject, chunk: int) -> None:
        if self.world.running:
            self.world.run(data.draw(st.sampled_from(self.world.running)), chunk)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.world.running:
            chosen = data.draw(st.sampled_from(self.world.running))
            data.draw(st.sampled_from([self.world.finish, self.world.preempt]))(chosen)

    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        if self.world.preempted:
            self.world.resume(data.draw(st.sampled_from(self.world.preempted)))

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.world.pool.claims:
            self.world.release(data.draw(st.sampled_from([claim.claim_id for claim in self.world.pool.claims])))

    def teardown(self) -> None:
        if hasattr(self, "world") and sys.exc_info()[0] is None:
            self.world.manager.close()


TestReference = ReferenceMachine.TestCase
