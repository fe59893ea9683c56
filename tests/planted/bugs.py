"""Bugs on purpose: each breaks one rule of the native core, and names the test that notices."""

from tests.planted.workshop import Bug, Edit

LEDGER = "csrc/manager/block_ledger.cpp"
REQUESTS = "csrc/manager/block_manager_requests.cpp"
STEPS = "csrc/manager/block_manager_steps.cpp"
PUBLISH = "csrc/manager/block_manager_publish.cpp"
CLAIMS = "csrc/manager/block_manager_claims.cpp"
CONFLICT = "csrc/manager/conflict.cpp"
INDEX = "csrc/prefix/prefix_index.cpp"

CLAIM_TESTS = "tests/unit/test_core_claims.py::"
REQUEST_TESTS = "tests/unit/test_core_requests.py::"

BUGS = (
    Bug(
        "victim_exclusion_removed",
        (
            Edit(
                LEDGER,
                "pool_.set_retention(index_.block(node), Retention::kResident);",
                "pool_.set_retention(index_.block(node), Retention::kCached);",
            ),
        ),
        CLAIM_TESTS + "TestProtection::test_a_claimed_block_is_never_a_victim",
    ),
    Bug(
        "harm_without_acceptance",
        (
            Edit(
                LEDGER,
                "      regions_.drop_hold(node);\n    }\n    NodeId const parent = index_.parent(node);\n",
                "      regions_.drop_hold(node);\n    }\n    NodeId const parent = index_.parent(node);\n"
                "    record_block(EventKind::kClaimHarmed, kNoClaim, node, taken.block, request);\n",
            ),
        ),
        CLAIM_TESTS + "TestLoss::test_ordinary_eviction_harms_nobody",
    ),
    Bug(
        "a_reservation_forgotten",
        (Edit(LEDGER, "claims_reservation_.absorb(std::move(*reservation));", ""),),
        CLAIM_TESTS + "TestProtection::test_a_reservation_is_kept_from_everybody_else",
    ),
    Bug(
        "the_filler_charged_twice",
        (
            Edit(
                REQUESTS,
                "reserve(look.decision.new_blocks - look.decision.num_filled_blocks)",
                "reserve(look.decision.new_blocks)",
            ),
        ),
        CLAIM_TESTS + "TestProtection::test_the_filler_draws_on_the_reservation_once",
    ),
    Bug(
        "a_parent_evicted_before_its_child",
        (
            Edit(
                REQUESTS,
                "ledger_.pool().release_all(request.blocks);",
                "for (BlockId const block : request.blocks) ledger_.pool().release(block);",
            ),
        ),
        REQUEST_TESTS + "TestAdmission::test_a_chain_is_evicted_from_its_tail_oldest_first",
    ),
    Bug(
        "tokens_not_compared",
        (
            Edit(INDEX, "record.hash == hash && spells(", "spells("),
            Edit(INDEX, "return difference == 0;", "return difference == 0 || true;"),
        ),
        REQUEST_TESTS + "TestPrefix::test_a_shared_bucket_is_no_hit",
    ),
    Bug(
        "a_match_before_commit",
        (
            Edit(
                PUBLISH,
                "full_blocks(row.num_written, block_size);",
                "full_blocks(std::min(row.num_planned, row.num_known), block_size);",
            ),
        ),
        REQUEST_TESTS + "TestPrefix::test_a_chunk_in_flight_is_not_found",
    ),
    Bug(
        "a_rejected_draft_published",
        (Edit(STEPS, "row.num_written = entry.first + num_kept;", "row.num_written = entry.first + entry.kept;"),),
        REQUEST_TESTS + "TestSteps::test_a_rejected_draft_is_not_published",
    ),
    Bug(
        "a_duplicate_freed_in_flight",
        (Edit(REQUESTS, "if (requests_.row(id).num_in_flight == 0) {", "if (true) {"),),
        REQUEST_TESTS + "TestDuplicates::test_not_while_a_step_in_flight_names_it",
    ),
    Bug(
        "a_shared_block_counted_twice",
        (Edit(CLAIMS, "if (i < known.size() && ledger_.is_protected(known[i])) continue;", ""),),
        CLAIM_TESTS + "TestProtection::test_a_shared_block_counts_once",
    ),
    Bug(
        "a_bystander_in_the_blocking_list",
        (Edit(CONFLICT, "if (blocks > 0) found.emplace_back", "found.emplace_back"),),
        CLAIM_TESTS + "TestConflict::test_a_bystander_is_not_named",
    ),
    Bug(
        "acceptance_ignores_running_peaks",
        (Edit(CLAIMS, "answer.largest_union_blocks > options_.usable_blocks || ", ""),),
        CLAIM_TESTS + "TestProtection::test_acceptance_counts_what_a_running_request_was_promised",
    ),
    Bug(
        "a_failed_step_keeps_an_unmade_copy",
        (Edit(STEPS, "undo(failed.departures[j]);", "ledger_.pool().release(failed.departures[j].shared);"),),
        REQUEST_TESTS + "TestFork::test_a_failed_step_is_repeatable",
    ),
)
