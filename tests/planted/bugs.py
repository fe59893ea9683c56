"""Bugs on purpose: each breaks one rule of the native core or of the Python above it, and names a test that notices."""

from tests.planted.workshop import Bug, Edit

LEDGER = "csrc/manager/block_ledger.cpp"
REQUESTS = "csrc/manager/block_manager_requests.cpp"
STEPS = "csrc/manager/block_manager_steps.cpp"
PUBLISH = "csrc/manager/block_manager_publish.cpp"
CLAIMS = "csrc/manager/block_manager_claims.cpp"
CONFLICT = "csrc/manager/conflict.cpp"
INDEX = "csrc/prefix/prefix_index.cpp"
PIECE_COPY = "csrc/device/piece_copy.hpp"
PLAN = "csrc/copy/plan.cpp"
ENGINE = "csrc/copy/engine.cpp"
SLOT_TABLE = "csrc/tier/slot_table.cpp"

ARBITER = "python/residentkv/contract/arbiter.py"
CLAIM = "python/residentkv/contract/claim.py"
DESK = "python/residentkv/runtime/conflict_desk.py"
MANAGER = "python/residentkv/runtime/claim_manager.py"
TABLE = "python/residentkv/runtime/claim_table.py"
DISK_TIER = "python/residentkv/runtime/disk_tier.py"

DECISIONS = "tests/model/test_reference.py::TestReference"
RUNTIME_TESTS = "tests/unit/runtime/"

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
    Bug(
        "acting_on_a_claim_that_forbids_it",
        (Edit(TABLE, "if ClaimAction.DEMOTE in claim.actions:", "if claim.mode.is_protecting:"),),
        DECISIONS,
    ),
    Bug(
        "the_most_valuable_claim_gives_way",
        (
            Edit(
                ARBITER,
                "return values.get(claim, _UNVALUED)",
                "return -values.get(claim, -_UNVALUED)",
            ),
        ),
        DECISIONS,
    ),
    Bug(
        "a_claim_is_demoted_although_it_does_not_help",
        (Edit(ARBITER, "relaxed = snapshot.sufficient(list(chosen)) if chosen else ()", "relaxed = list(chosen)"),),
        DECISIONS,
    ),
    Bug(
        "the_record_calls_a_refusal_feasible",
        (Edit(DESK, "if decision.protected_union_peak_blocks <= self._usable_blocks", "if True"),),
        DECISIONS,
    ),
    Bug(
        "the_shortfall_forgets_what_is_available",
        (Edit(DESK, "decision.new_blocks - decision.available_blocks", "decision.new_blocks"),),
        DECISIONS,
    ),
    Bug(
        "a_soft_claim_is_listed_as_protected",
        (
            Edit(
                TABLE,
                "for claim in self.by_number.values() if claim.mode.is_protecting)",
                "for claim in self.by_number.values())",
            ),
        ),
        DECISIONS,
    ),
    Bug(
        "a_later_loss_is_not_told_to_the_claim",
        (Edit(TABLE, "            self._recorder.ending(claim.number)\n", "            pass\n"),),
        RUNTIME_TESTS + "test_event_recorder.py::test_demotion_precedes_every_loss_and_losses_name_the_claim",
    ),
    Bug(
        "an_ended_claim_can_be_demoted",
        (
            Edit(
                CLAIM,
                "    following = NEXT.get(state, {}).get(event)",
                "    following = NEXT.get(state, _ENDINGS).get(event)",
            ),
        ),
        "tests/unit/contract/test_claim.py::test_any_other_transition_is_an_error[demote-harmed]",
    ),
    Bug(
        "asking_again_is_told_again",
        (Edit(DESK, "if before == record.blocking_claim_ids:", "if False:"),),
        RUNTIME_TESTS + "test_conflict_desk.py::test_asking_again_tells_nothing_new",
    ),
    Bug(
        "a_planned_claim_is_called_preserved",
        (Edit(DESK, "if self._table.by_number[number].state is ClaimState.MATERIALIZED:", "if True:"),),
        RUNTIME_TESTS + "test_conflict_desk.py::test_a_claim_that_is_not_materialized_is_not_preserved",
    ),
    Bug(
        "a_repeated_renewal_moves_the_deadline",
        (Edit(MANAGER, "if revision <= claim.revision:", "if revision < claim.revision:"),),
        RUNTIME_TESTS + "test_claim_manager.py::test_renewal_is_idempotent_by_revision",
    ),
    Bug(
        "the_quota_forgets_earlier_claims",
        (Edit(MANAGER, "charged + spec.num_footprint_blocks > quota", "spec.num_footprint_blocks > quota"),),
        RUNTIME_TESTS + "test_claim_manager.py::test_the_owners_quota_counts_its_protecting_footprints",
    ),
    Bug(
        "a_restore_not_verified",
        (Edit(PIECE_COPY, "return checksum.value() == job.checksum(piece);", "return true;"),),
        "tests/model/test_copies.py::test_any_changed_bit_fails_exactly_its_pair",
    ),
    Bug(
        "a_slot_freed_while_it_is_read",
        (Edit(SLOT_TABLE, "if (slot.num_reading > 0) {", "if (false) {"),),
        "tests/model/test_slot_table.py::TestSlotTable",
    ),
    Bug(
        "reading_breaks_a_promise",
        (Edit(SLOT_TABLE, "counts_.lent += is_lent(slot);", ""),),
        "tests/model/test_slot_table.py::TestSlotTable",
    ),
    Bug(
        "a_copy_from_the_wrong_block",
        (Edit(PLAN, "index_of(pairs[pair].block) * plane", "index_of(pairs[0].block) * plane"),),
        "tests/model/test_copies.py::test_out_and_back",
    ),
    Bug(
        "keys_and_values_exchanged",
        (
            Edit(
                PLAN,
                "Plane const& plane = layout.planes()[p];",
                "Plane const& plane = layout.planes()[first_plane[layer] + first_plane[layer + 1] - 1 - p];",
            ),
        ),
        "tests/unit/test_core_copies.py::test_a_slot_holds_layer_by_layer_keys_before_values",
    ),
    Bug(
        "over_before_the_copy_ended",
        (Edit(ENGINE, "if (!job.is_over()) return false;", "if (job.num_layers_done.load() == 0) return false;"),),
        "tests/unit/test_core_copies.py::test_a_ticket_is_over_when_all_bytes_are_there_and_not_before",
    ),
    Bug(
        "a_disk_block_not_verified",
        (Edit(DISK_TIER, ' and checksum(into).to_bytes(8, "little") == row[0]', ""),),
        RUNTIME_TESTS + "test_disk_tier.py::TestDamage::test_a_flipped_bit_is_found_and_hits_its_block_only[5000]",
    ),
    Bug(
        "a_disk_block_named_before_it_is_written",
        (
            Edit(DISK_TIER, "        self._file.write(slot, block.data)\n", ""),
            Edit(
                DISK_TIER,
                "                self._commit(_INSERT, rows)\n",
                "                self._commit(_INSERT, rows)\n"
                "                for slot, _, block in fills:\n"
                "                    self._file.write(slot, block.data)\n",
            ),
        ),
        RUNTIME_TESTS + "test_disk_tier.py::test_killed_at_any_moment_each_block_is_whole_or_absent",
    ),
)
