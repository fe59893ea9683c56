"""Requests that do not fit beside claims: what-if, refusal, and admission after claims gave way."""

from itertools import count
from typing import Final

from bench.shapes import BLOCK_TOKENS, REQUEST_BLOCKS
from bench.workloads.base import Facts, expect
from bench.workloads.pool import IDENTITY, Prompts, new_manager, random_tokens, serve
from residentkv import Accepted, Admitted, ClaimSpec, LeadingPrefix, ProtectionMode, Refused

_MISSING_BLOCKS: Final = 1  # the request is too large by this much, so one claim would have to give way


class _Conflict:
    """A pool full of materialized one-block claims, and a request of 64 blocks for which one block is missing."""

    units = 1
    mode = ProtectionMode.DEMOTABLE

    def __init__(self, num_claims: int) -> None:
        self._num_claims = num_claims
        self._claim_numbers = count()
        self._manager = new_manager(num_claims + REQUEST_BLOCKS - _MISSING_BLOCKS)
        for _ in range(num_claims):
            self._add_claim()
        self._prompts = Prompts(REQUEST_BLOCKS * BLOCK_TOKENS)
        self._num_runs = 0
        expect("protected blocks", self._manager.pool.counts().protected, num_claims)

    def prepare(self) -> None:
        """A request that nothing in the cache helps."""
        self._num_runs += 1
        self._tokens = self._prompts.next()

    def _add_claim(self) -> None:
        number = next(self._claim_numbers)
        tokens = random_tokens(BLOCK_TOKENS, seed=number + 2)
        claim_id = f"claim-{number}"
        # Values differ, so the arbiter has to order the claims.
        spec = ClaimSpec(
            claim_id,
            "tenant",
            IDENTITY,
            tokens,
            LeadingPrefix(1),
            mode=self.mode,
            predicted_value=float(number * 7919 % 10_007),
        )
        answer = self._manager.claims.submit(spec)
        assert isinstance(answer, Accepted), answer
        serve(self._manager, f"fills-{claim_id}", tokens)


class WhatIf(_Conflict):
    """Ask what would be done for the request; changes nothing."""

    def run(self) -> None:
        """One question."""
        self._answer = self._manager.claims.explain(self._tokens)

    def verify(self) -> Facts:
        """Every claim was named as blocking, one demotion was found to suffice, and nobody was touched."""
        expect("decision", self._answer.decision, "admitted")
        expect("claims in the way", len(self._answer.record.blocking_claim_ids), self._num_claims)
        expect("claims to demote", len(self._answer.actions), 1)
        expect("live claims", len(self._manager.claims), self._num_claims)
        return {}


class Refusal(_Conflict):
    """Admit the request beside hard claims: refused, with every blocking claim named."""

    mode = ProtectionMode.HARD_PROTECTED

    def run(self) -> None:
        """One admission."""
        self._answer = self._manager.admit("too-large", self._tokens)

    def verify(self) -> Facts:
        """It was refused because of all of them."""
        assert isinstance(self._answer, Refused), self._answer
        expect("blocking claims", len(self._answer.record.blocking_claim_ids), self._num_claims)
        expect("shortfall", self._answer.record.capacity_shortfall_blocks, _MISSING_BLOCKS)
        expect("live claims", len(self._manager.claims), self._num_claims)
        return {}


class Relaxation(_Conflict):
    """Admit the request beside demotable claims: the least valuable one gives way."""

    def prepare(self) -> None:
        """Let another claim take the place of the one that gave way."""
        if self._num_runs:
            self._manager.finish("fits-then")
            self._add_claim()
        super().prepare()
        expect("live claims", len(self._manager.claims), self._num_claims)

    def run(self) -> None:
        """One admission."""
        self._answer = self._manager.admit("fits-then", self._tokens)

    def verify(self) -> Facts:
        """It was admitted, and one claim is gone."""
        assert isinstance(self._answer, Admitted), self._answer
        expect("live claims", len(self._manager.claims), self._num_claims - 1)
        self._manager.pool.check_invariants()
        return {}
