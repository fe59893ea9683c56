"""The scenario every arbitration mechanism is put to (contract.md section 5), and what a run of it is worth.

Two owners claim a prefix of 30 blocks each, worth 17 together. An active request of 70 blocks arrives, in chunks of
20, 20, 20 and 10, on a pool of 80. Later the owners come back; a prefix is worth its value if it is found whole, and
nothing otherwise. Then they release their claims.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from residentkv.contract.arbiter import PRESERVE_CLAIMS, ArbiterPolicy
from residentkv.contract.claim import ClaimSpec, ProtectionMode
from residentkv.contract.decision import Admitted, Deferred, Refused
from residentkv.contract.events import Event
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import LeadingPrefix
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.runtime import MicroRuntime

PREFIX_BLOCKS: Final = 30
PREFIX_VALUES: Final = {"prefix-a": 10.0, "prefix-b": 7.0}
CHUNKS: Final = (20, 20, 20, 10)
USABLE_BLOCKS: Final = 80
OWNERS_RETURN: Final = 3  # ticks after the active request arrived

IDENTITY: Final = CacheIdentity("mechanisms", "model", "tokenizer", "salt", block_size=1, kv_format="none")
_STREAM_TOKENS: Final = 1000  # texts that share no block: each has token ids of its own


def text(stream: int, num_blocks: int) -> tuple[int, ...]:
    """Tokens of a text of `num_blocks`; a block is one token here, for nothing depends on its size."""
    return tuple(range(stream * _STREAM_TOKENS, stream * _STREAM_TOKENS + num_blocks))


_TURNS: Final = frozenset({"harmed", "demoted", "offloaded", "restored", "released"})  # of a claim, worth telling
ACTIVE: Final = text(9, sum(CHUNKS))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a mechanism did. Numbers are blocks unless named otherwise.

    Parameters
    ----------
    resident_survives : both prefixes were found whole when their owners came back.
    resident_value : of the prefixes that were found whole.
    reuse_admitted : what the active request computed can be found by the next one.
    delay_ticks : from the arrival of the active request to its admission; None if it was not served.
    offloaded_blocks : copied to or from the host. recomputed_blocks : computed more than once.
    routed_blocks : computed on another worker. added_blocks : capacity beyond the pool's.
    live_by_step : blocks the active request held in each step it ran.
    first_blocked_step : the first step that could not run, from 1; None if none was.
    reasons : what happened, in order, as the run's events tell it.
    """

    mechanism: str
    resident_survives: bool
    resident_value: float
    active_served: bool
    reuse_admitted: bool
    delay_ticks: int | None
    offloaded_blocks: int = 0
    recomputed_blocks: int = 0
    routed_blocks: int = 0
    added_blocks: int = 0
    live_by_step: tuple[int, ...] = ()
    first_blocked_step: int | None = None
    reasons: tuple[str, ...] = ()


class Run:
    """One run of the scenario on one pool, tick by tick.

    Parameters
    ----------
    mode : of the owners' claims.
    policy : what the arbiter may do to them.

    Attributes
    ----------
    live : blocks the active request held, by step. events : everything that was said.
    """

    def __init__(
        self,
        mode: ProtectionMode,
        policy: ArbiterPolicy = PRESERVE_CLAIMS,
        *,
        usable_blocks: int = USABLE_BLOCKS,
        host_blocks: int = 0,
    ) -> None:
        self.events: list[Event] = []
        self.live: list[int] = []
        self.tick = 0
        self._mode = mode
        options = MicroOptions(usable_blocks, IDENTITY, policy, run_id="mechanism", host_blocks=host_blocks)
        self.micro = MicroRuntime(options, lambda: self.tick, self.events.append)

    # --- owners ---

    def claim(self, prefix: str) -> None:
        """An owner asks that its prefix stay."""
        self.micro.claims.submit(
            ClaimSpec(
                claim_id=prefix,
                owner_scope=f"owner of {prefix}",
                cache_identity=IDENTITY,
                tokens=self._tokens(prefix),
                predicate=LeadingPrefix(PREFIX_BLOCKS),
                mode=self._mode,
                predicted_value=PREFIX_VALUES[prefix],
            )
        )

    def seed(self, prefix: str) -> None:
        """An owner computes its prefix."""
        self._compute(f"seed of {prefix}", self._tokens(prefix))

    def owners_claim(self) -> None:
        """Both owners have computed and claimed their prefixes before anybody else came."""
        for prefix in PREFIX_VALUES:
            self.claim(prefix)
            self.seed(prefix)

    def owners_return(self) -> dict[str, float]:
        """Both owners come back, wait for a restore if they must, and release. Returns the value each found."""
        found = {}
        for prefix in PREFIX_VALUES:
            tokens = (*self._tokens(prefix), 1)  # one more, so that every block of the prefix can be reused
            answer = self.micro.admit(f"return to {prefix}", tokens)
            if isinstance(answer, Deferred):
                for claim in self.micro.claims:
                    if claim.state.value == "restoring":
                        self.micro.tier.complete(claim)
                answer = self.micro.admit(f"return to {prefix}", tokens)
            whole = isinstance(answer, Admitted) and answer.num_cached_tokens == PREFIX_BLOCKS
            found[prefix] = PREFIX_VALUES[prefix] if whole else 0.0
            if isinstance(answer, Admitted):
                self.micro.step({f"return to {prefix}": tokens[answer.num_cached_tokens :]})
                self.micro.finish(f"return to {prefix}")
        for claim in self.micro.claims:
            self.micro.claims.release(claim.claim_id)
        return found

    # --- the active request ---

    def serve_active(self, *, future_reuse: bool = True) -> Admitted | Deferred | Refused:
        """Ask for the whole active request; if it is admitted, compute it chunk by chunk and finish it."""
        answer = self.micro.admit("active", ACTIVE, max_new_tokens=0, future_reuse=future_reuse)
        if isinstance(answer, Admitted):
            begin = 0
            for chunk in CHUNKS:
                self.micro.step({"active": ACTIVE[begin : begin + chunk]})
                self.note_live()
                begin += chunk
            self.micro.finish("active")
        return answer

    def note_live(self) -> None:
        """Write down how many blocks the active request holds."""
        self.live.append(len(self.micro.ledger.requests["active"].blocks))

    def can_reuse_active(self) -> bool:
        """Whether the next request would find what the active one computed; asking leaves it as it is."""
        nodes = self.micro.ledger.nodes.chain(IDENTITY, ACTIVE, len(ACTIVE))
        return all(node.is_computed for node in nodes)

    # --- what it was worth ---

    def outcome(self, mechanism: str, values: dict[str, float], *, delay_ticks: int | None, reuse: bool) -> Outcome:
        """What the run tells about a mechanism; costs that the pool does not know are added by `replace`."""
        return Outcome(
            mechanism=mechanism,
            resident_survives=all(values.values()),
            resident_value=sum(values.values()),
            active_served=delay_ticks is not None,
            reuse_admitted=reuse,
            delay_ticks=delay_ticks,
            offloaded_blocks=self.micro.tier.num_copied_out + self.micro.tier.num_copied_in,
            live_by_step=tuple(self.live),
            reasons=tuple(reasons(self.events)),
        )

    def _compute(self, request_id: str, tokens: Sequence[int]) -> None:
        answer = self.micro.admit(request_id, tokens)
        if isinstance(answer, Admitted):
            self.micro.step({request_id: tokens[answer.num_cached_tokens :]})
            self.micro.finish(request_id)

    @staticmethod
    def _tokens(prefix: str) -> tuple[int, ...]:
        return text(list(PREFIX_VALUES).index(prefix), PREFIX_BLOCKS)


def reasons(events: Sequence[Event]) -> list[str]:
    """What decided the run, in order: decisions about the active request, ends and moves of claims, losses."""
    said: list[str] = []
    num_victims = 0
    for event in events:
        name = event["event"]
        if name == "allocation_victim_selected":
            num_victims += event["request_id"] == "active"
        elif name.removeprefix("resident_claim_") in _TURNS:
            said.append(f"{event['claim_id']} {name.removeprefix('resident_claim_')}")
        elif name.startswith("active_request_") and event["request_id"] == "active":
            said.append(f"active {name.removeprefix('active_request_')}: {_why(event)}")
    if num_victims:
        said.append(f"{num_victims} idle blocks were evicted for the active request")
    return list(dict.fromkeys(said))


def _why(event: Event) -> str:
    action = str(event["arbiter_action"])
    if not event["blocking_claim_ids"]:
        return action
    blocking = ", ".join(event["blocking_claim_ids"])
    needed, usable = event["resident_plus_active_blocks"], event["usable_blocks"]
    return f"{action}, {needed} needed of {usable}, blocked by {blocking}"
