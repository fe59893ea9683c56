"""The native runtime and the reference model side by side through random histories."""

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from residentkv.contract.arbiter import ArbiterPolicy, RelaxOrder
from residentkv.contract.claim import ClaimAction, ClaimSpec, Duration, ProtectionMode
from residentkv.contract.predicate import ContiguousRange, LeadingPrefix
from residentkv.microruntime.request import Request, Status
from tests.model.micro_pair import Pair, Size, identity

# Two letters and short texts: equal prefixes, duplicates and near misses are the rule, not the exception.
TOKENS = st.sampled_from([1, 1, 1, 2])
TAILS = st.lists(TOKENS, min_size=1, max_size=9)
EXTRAS = st.sampled_from([(), (), (), (b"x",), (None, b"x")])
NEW = st.sampled_from([None, None, 0, 1, 4, 9])
POLICIES = st.builds(
    ArbiterPolicy,
    name=st.just("random"),
    actions=st.sampled_from([(), (ClaimAction.DEMOTE,), tuple(ClaimAction)]),
    order=st.sampled_from(RelaxOrder),
)
HARD = ProtectionMode.HARD_PROTECTED
MODES = st.sampled_from([HARD, HARD, *(mode for mode in ProtectionMode if mode is not HARD)])
LIMITS = st.sampled_from([None, None, None, 4])


class MicroMachine(RuleBasedStateMachine):
    """One rule that draws what to do by weight: most histories then are about claims under pressure."""

    WEIGHTS: ClassVar[dict[str, int]] = {
        "admit": 8,
        "step": 8,
        "run": 6,
        "finish": 4,
        "preempt": 2,
        "resume": 3,
        "submit": 8,
        "renew": 2,
        "end": 3,
        "expire_due": 1,
        "pass_time": 2,
        "invalidate": 1,
        "reset": 0,
    }

    @initialize(
        usable=st.integers(3, 14),
        block_size=st.sampled_from([2, 2, 1, 3]),
        rows=st.integers(2, 6),
        quota=LIMITS,
        limit=LIMITS,
        policy=POLICIES,
    )
    def build(
        self, usable: int, block_size: int, rows: int, quota: int | None, limit: int | None, policy: ArbiterPolicy
    ) -> None:
        self.pair = Pair(Size(usable, block_size, rows, quota, limit, policy))
        self.texts: list[tuple[str, list[int]]] = [("a", [1])]  # (salt, tokens) seen so far, for others to share
        self.longest = usable * block_size
        self.num_requests = 0

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        possible = [name for name, weight in self.WEIGHTS.items() if self.can(name) for _ in range(weight)]
        getattr(self, data.draw(st.sampled_from(possible), label="action"))(data)

    def can(self, action: str) -> bool:
        has_claims = bool(self.pair.claim_ids)
        return {
            "step": bool(self.those(Status.RUNNING)),
            "run": bool(self.those(Status.RUNNING)),
            "finish": bool(self.those(*Status)),
            "preempt": bool(self.those(Status.RUNNING)),
            "resume": bool(self.those(Status.PREEMPTED)),
            "renew": has_claims,
            "end": has_claims,
            "pass_time": has_claims,
            "invalidate": bool(self.pair.blocks),
        }.get(action, True)

    def those(self, *statuses: Status) -> list[Request]:
        return [request for request in self.pair.micro.ledger.requests.values() if request.status in statuses]

    def one(self, data: st.DataObject, *statuses: Status) -> str:
        return data.draw(st.sampled_from([request.request_id for request in self.those(*statuses)]), label="request")

    def text(self, data: st.DataObject) -> tuple[str, list[int]]:
        """Something seen before, all of it or a prefix, as it is or continued."""
        salt, seen = data.draw(st.sampled_from(self.texts[-8:]), label="text")
        kept = data.draw(st.sampled_from([len(seen), len(seen), len(seen) // 2, 0]), label="kept")
        tail = data.draw(TAILS, label="tail") if kept < len(seen) or data.draw(st.booleans(), label="longer") else []
        if data.draw(st.integers(0, 7), label="other identity") == 7:
            salt = "b" if salt == "a" else "a"
        text = salt, (seen[:kept] + tail)[: self.longest + self.pair.size.block_size]
        if text not in self.texts:
            self.texts.append(text)
        return text

    # --- requests ---

    def admit(self, data: st.DataObject) -> None:
        salt, tokens = self.text(data)
        self.num_requests += 1
        again = data.draw(st.integers(0, 5), label="again") == 5  # one that waits asks again, or an id is in use
        name = f"r{self.num_requests - 1 if again else self.num_requests}"
        options: dict[str, Any] = {"max_new_tokens": data.draw(NEW, label="new")}
        options["extra_keys"] = data.draw(EXTRAS, label="extras")[: len(tokens) // self.pair.size.block_size]
        options["future_reuse"] = data.draw(st.integers(0, 4), label="reuse") > 0
        if salt != "a":
            options["identity"] = identity(self.pair.size.block_size, salt)
        self.pair.admit(name, tokens, **options)

    def fed(self, data: st.DataObject, request: Request, *, everything: bool) -> list[int]:
        """What a request is fed: known tokens first, then some of its own."""
        left = len(request.tokens) - request.num_computed
        count = left or 1 if everything else data.draw(st.integers(1, left + 3), label="tokens")
        most = (self.longest if request.limit is None else request.limit) - request.num_computed
        known = list(request.tokens[request.num_computed : request.num_computed + min(count, most)])
        return known + [data.draw(TOKENS) for _ in range(min(count, most) - len(known))]

    def step(self, data: st.DataObject) -> None:
        running = {request.request_id: request for request in self.those(Status.RUNNING)}
        batch = data.draw(st.lists(st.sampled_from(list(running)), min_size=1, unique=True), label="batch")
        fed = {name: self.fed(data, running[name], everything=False) for name in batch}
        if fed := {name: tokens for name, tokens in fed.items() if tokens}:
            self.pair.step(fed)

    def run(self, data: st.DataObject) -> None:
        fed = {r.request_id: self.fed(data, r, everything=True) for r in self.those(Status.RUNNING)}
        if fed := {name: tokens for name, tokens in fed.items() if tokens}:
            self.pair.step(fed)

    def finish(self, data: st.DataObject) -> None:
        self.pair.on_request("finish", self.one(data, *Status))

    def preempt(self, data: st.DataObject) -> None:
        self.pair.on_request("preempt", self.one(data, Status.RUNNING))

    def resume(self, data: st.DataObject) -> None:
        self.pair.on_request("resume", self.one(data, Status.PREEMPTED))

    # --- claims ---

    def duration(self, data: st.DataObject, *, needed: bool) -> Duration | None:
        kind = data.draw(st.sampled_from(["steps", "allocations", "nanoseconds"] + ["none"] * 6 * (not needed)))
        return None if kind == "none" else Duration(**{kind: data.draw(st.integers(1, 16), label="lasts")})

    def claim(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self.pair.claim_ids)), label="claim")

    def submit(self, data: st.DataObject) -> None:
        salt, tokens = self.text(data)
        footprint = len(tokens) // self.pair.size.block_size
        if footprint == 0:
            return
        mode = data.draw(MODES, label="mode")
        start = data.draw(st.sampled_from([0, 0, footprint // 2]), label="start")
        end = data.draw(st.sampled_from([footprint, start + 1]), label="end")
        predicate = ContiguousRange(start, end - start) if start else LeadingPrefix(end)
        value = data.draw(st.sampled_from([None, None, 1.0, 2.0]), label="value")
        self.pair.submit(
            ClaimSpec(
                claim_id=f"c{data.draw(st.integers(0, 5), label='claim')}",
                owner_scope=data.draw(st.sampled_from(["rich", "rich", "poor"]), label="owner"),
                cache_identity=identity(self.pair.size.block_size, salt),
                tokens=tokens,
                predicate=predicate,
                footprint_blocks=data.draw(st.integers(end, footprint), label="footprint"),
                mode=mode,
                duration=self.duration(data, needed=mode is ProtectionMode.EXPIRING),
                predicted_value=value,
                extra_keys=data.draw(EXTRAS, label="extras")[:footprint],
            )
        )

    def renew(self, data: st.DataObject) -> None:
        duration = self.duration(data, needed=False)
        self.pair.renew(self.claim(data), duration, data.draw(st.integers(0, 3), label="revision"))

    def end(self, data: st.DataObject) -> None:
        self.pair.on_claim(data.draw(st.sampled_from(["release", "release", "demote"])), self.claim(data))

    def expire_due(self, data: st.DataObject) -> None:
        self.pair.expire_due()

    def pass_time(self, data: st.DataObject) -> None:
        self.pair.clock.now_ns += data.draw(st.integers(1, 4), label="passed")

    # --- faults ---

    def invalidate(self, data: st.DataObject) -> None:
        blocks = data.draw(st.lists(st.sampled_from(list(self.pair.blocks)), min_size=1, max_size=2), label="bad")
        self.pair.invalidate(blocks, f"cause {len(blocks)}")

    def reset(self, data: st.DataObject) -> None:
        self.pair.reset()


TestMicro = MicroMachine.TestCase
