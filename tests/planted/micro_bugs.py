"""Bugs on purpose in the reference model: a model that is wrong would call a wrong runtime right."""

from tests.planted.workshop import Bug, Edit

MICRO = "python/residentkv/microruntime/"
CLAIM = MICRO + "claim.py"
DECISION = MICRO + "decision.py"
DESK = MICRO + "conflict_desk.py"
FACTS = MICRO + "facts.py"
LEDGER = MICRO + "ledger.py"
TIER = MICRO + "host_tier.py"

TESTS = "tests/unit/microruntime/"
RUNTIME_TESTS = TESTS + "test_runtime.py::"
SIDE_BY_SIDE = "tests/model/test_micro.py::TestMicro::runTest"

BUGS = (
    Bug(
        "micro_harm_without_acceptance",
        (
            Edit(
                LEDGER,
                "        if not naming:\n            self._report_lost(",
                "        if not naming:\n"
                '            self.journal.say("resident_claim_harmed", place)\n'
                "            self._report_lost(",
            ),
        ),
        RUNTIME_TESTS + "test_ordinary_eviction_harms_nobody",
    ),
    Bug(
        "micro_a_shared_block_counted_twice",
        (
            Edit(
                DECISION,
                "return Sizes(len(protected), ",
                "return Sizes(len(facts.protected) + len(nodes), ",
            ),
            Edit(
                MICRO + "claim_desk.py",
                "        protected = len(self._ledger.facts().protected)\n",
                "        protected = sum(len(claim.nodes) for claim in self if claim.protects)\n",
            ),
        ),
        RUNTIME_TESTS + "test_a_shared_block_counts_once",
    ),
    Bug(
        "micro_demotion_after_loss",
        (
            Edit(
                LEDGER,
                "        self.journal.say(_ENDINGS[event], {**claim.as_fields(surviving), **details})\n"
                "        del self.claims[claim.claim_id]\n",
                "        del self.claims[claim.claim_id]\n",
            ),
            Edit(
                LEDGER,
                "        if taken.victim is not None:\n            self.num_victims += 1\n"
                "            self._lost_to_eviction(taken.victim, taken, request_id)\n",
                "        if taken.victim is not None:\n            self.num_victims += 1\n"
                "            self._lost_to_eviction(taken.victim, taken, request_id)\n"
                "            for claim in self.ended.values():\n"
                '                self.journal.say("resident_claim_demoted", claim.as_fields())\n',
            ),
        ),
        RUNTIME_TESTS + "test_demotion_is_said_before_a_block_is_lost",
    ),
    Bug(
        "micro_a_bystander_in_the_blocking_list",
        (Edit(DECISION, "key=lambda entry: -entry[1]) if count)", "key=lambda entry: -entry[1]))"),),
        RUNTIME_TESTS + "test_a_bystander_is_not_named",
    ),
    Bug(
        "micro_a_claimed_block_is_a_victim",
        (Edit(LEDGER, "            return Retention.RESIDENT\n", "            return Retention.CACHED\n"),),
        RUNTIME_TESTS + "test_a_victim_is_never_a_claimed_block",
    ),
    Bug(
        "micro_a_reservation_forgotten",
        (Edit(FACTS, " + len(self.cached) - len(self.reserved)", " + len(self.cached)"),),
        SIDE_BY_SIDE,
    ),
    Bug(
        "micro_a_loss_is_told_to_nobody",
        (Edit(LEDGER, "        if node.last_owner is not None:\n", "        if False:\n"),),
        RUNTIME_TESTS + "test_demotion_is_said_before_a_block_is_lost",
    ),
    Bug(
        "micro_write_no_admit_is_found",
        (
            Edit(
                LEDGER,
                "if not request.wants_reuse and not self.facts().naming(node):",
                "if False:",
            ),
        ),
        RUNTIME_TESTS + "test_a_write_that_is_not_admitted_frees_nothing_and_is_not_found",
    ),
    Bug(
        "micro_asking_again_is_told_again",
        (Edit(DESK, "if before != numbers.blocking_claim_ids:", "if True:"),),
        RUNTIME_TESTS + "test_a_waiting_request_is_told_once",
    ),
    Bug(
        "micro_a_failed_restore_is_called_a_success",
        (
            Edit(
                TIER,
                "        claim.move(event)\n        self._ledger.let_go",
                "        claim.move(ClaimEvent.RESTORE)\n        self._ledger.let_go",
            ),
        ),
        TESTS + "test_host_tier.py::test_a_transient_fault_leaves_the_claim_offloaded",
    ),
    Bug(
        "micro_a_deadline_passes_unnoticed",
        (Edit(CLAIM, "if limit is not None and limit <= last", "if limit is not None and limit < last"),),
        SIDE_BY_SIDE,
    ),
)
