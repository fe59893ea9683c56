"""A small model with hands. Blocks of 2 tokens: a letter is one block."""

from typing import Any

from residentkv.contract.claim import ClaimSpec, ProtectionMode
from residentkv.contract.decision import Admitted
from residentkv.contract.events import Event, event_problem
from residentkv.contract.identity import CacheIdentity
from residentkv.contract.predicate import LeadingPrefix
from residentkv.microruntime.options import MicroOptions
from residentkv.microruntime.runtime import MicroRuntime

IDENTITY = CacheIdentity("domain", "model", "tokenizer", "salt", 2, "none")


def words(text: str) -> tuple[int, ...]:
    """Tokens of `text`: two for each letter, and one for a dot."""
    tokens: list[int] = []
    for letter in text:
        tokens += [ord(letter)] if letter == "." else [ord(letter), 1000 + ord(letter)]
    return tuple(tokens)


class Scenario:
    def __init__(self, usable: int, **options: Any) -> None:
        self.now_ns = 0
        self.events: list[Event] = []
        self.micro = MicroRuntime(MicroOptions(usable, IDENTITY, **options), lambda: self.now_ns, self.events.append)
        self.claims = self.micro.claims
        self.tier = self.micro.tier

    def claim(self, claim_id: str, text: str, mode: ProtectionMode = ProtectionMode.HARD_PROTECTED, **more: Any) -> Any:
        spec = {"predicate": LeadingPrefix(len(text)), "owner_scope": "owner", "cache_identity": IDENTITY, **more}
        return self.claims.submit(ClaimSpec(claim_id=claim_id, tokens=words(text), mode=mode, **spec))

    def admit(self, request_id: str, text: str, **more: Any) -> Any:
        return self.micro.admit(request_id, words(text), **more)

    def serve(self, request_id: str, text: str, **more: Any) -> Any:
        answer = self.admit(request_id, text, **more)
        if isinstance(answer, Admitted):
            assert self.micro.step({request_id: words(text)[answer.num_cached_tokens :]}) is None
            self.micro.finish(request_id)
        return answer

    def story(self) -> list[str]:
        """Names since the last look, without what they have in common."""
        assert [problem for event in self.events if (problem := event_problem(event))] == []
        self.micro.ledger.pool.check()
        names = [event["event"].removeprefix("resident_").removeprefix("claim_") for event in self.events]
        self.events.clear()
        return [name.removeprefix("active_request_") for name in names]
