// Random histories under the sanitizers: whatever is called in whatever order, every invariant holds after every call, and what cannot be
// done is answered by a value or a ContractError. The Python model tests compare answers; this looks for memory errors.
#include "manager/block_manager.hpp"

#include <algorithm>
#include <random>

#include "check.hpp"
#include "manager/conflict.hpp"

namespace residentkv {
namespace {

constexpr std::uint32_t kBlockSize = 4;

class Churn {
 public:
  explicit Churn(std::uint32_t seed)
      : random_(seed),
        manager_({.usable_blocks = 12,
                  .block_size = kBlockSize,
                  .null_block = seed % 2 == 0,
                  .max_requests = 6,
                  .max_blocks_per_request = 12,
                  .hash_seed = seed,
                  .block_events = true,
                  .retain_events = true}) {}

  void step() {
    try {
      act();
    } catch (ContractError const&) {  // the caller is random, so it errs; nothing may have changed
    }
    manager_.check();
  }

  [[nodiscard]] int num_admitted() const { return num_admitted_; }
  [[nodiscard]] int num_harmed() const { return num_harmed_; }

 private:
  std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }
  std::vector<std::int32_t> tokens() {  // few different contents, so that they meet
    std::vector<std::int32_t> result(1 + pick(6 * kBlockSize));
    auto const variant = static_cast<std::int32_t>(pick(3));
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = i < kBlockSize * 2 ? 1 : variant;
    return result;
  }
  RowId any_row() { return manager_.requests().admitted_row(pick(6)); }

  void act() {
    ++now_;
    switch (pick(14)) {
      case 0:
      case 1:
      case 2: {
        std::vector<std::int32_t> const content = tokens();
        Decision const decision = manager_.admit({.key = RequestKey{now_},
                                                  .content = {.root = RootId{pick(2)}, .tokens = content, .extras = {}},
                                                  .max_new_tokens = static_cast<std::int64_t>(pick(12)) - 2,
                                                  .future_reuse = pick(4) != 0},
                                                 now());
        num_admitted_ += decision.outcome == Outcome::kAdmitted;
        expire(decision.outcome == Outcome::kDeadlineDue);
        return;
      }
      case 3:
      case 4:
      case 5:
        return plan();
      case 6:
      case 7:
        return commit();
      case 8:
        return claim();
      case 9:
        return end_claim();
      case 10:
        return pick(2) == 0 ? manager_.preempt(any_row()) : manager_.finish(any_row());
      case 11: {
        Decision const decision = pick(2) == 0 ? manager_.resume(any_row(), now()) : manager_.fork(any_row(), RequestKey{now_}, now());
        return expire(decision.outcome == Outcome::kDeadlineDue);
      }
      case 12: {
        RowId const row = any_row();
        return manager_.rewind(row, pick(manager_.requests().row(row).num_planned + 1));
      }
      default:
        return fault();
    }
  }

  void plan() {
    std::vector<std::int32_t> rows;
    std::vector<std::int32_t> counts;
    for (std::int32_t row = 0; row < 6; ++row) {
      bool const is_running = row < static_cast<std::int32_t>(manager_.requests().row_limit()) &&
                              manager_.requests().row(RowId{static_cast<std::uint32_t>(row)}).status == RequestStatus::kRunning;
      if (pick(8) == 0 ? is_running : !is_running) continue;  // mostly a batch that can be planned
      rows.push_back(row);
      counts.push_back(static_cast<std::int32_t>(1 + pick(5)));
    }
    auto const answer = manager_.plan_step(rows, counts, now(), nullptr);
    if (auto const* const planned = std::get_if<PlannedStep>(&answer)) {
      in_flight_.push_back({.step = planned->step, .counts = counts});
      StepBuffers::Set const& set = manager_.buffers().set(index_of(planned->step));
      for (std::uint32_t i = 0; i < planned->num_tokens; ++i) {
        CHECK(set.slot_mapping[i] >= 0 && set.slot_mapping[i] < static_cast<std::int32_t>(13 * kBlockSize));
      }
    } else {
      expire(std::get<Shortage>(answer).deadline_due);
    }
  }

  void commit() {
    if (in_flight_.empty()) return;
    if (pick(6) == 0) {
      std::size_t const from = pick(static_cast<std::uint32_t>(in_flight_.size()));
      static_cast<void>(manager_.fail_step(in_flight_[from].step));
      in_flight_.resize(from);
      return;
    }
    std::vector<std::int32_t> valid = in_flight_.front().counts;
    for (std::int32_t& count : valid) count = pick(3) == 0 ? static_cast<std::int32_t>(pick(static_cast<std::uint32_t>(count) + 1)) : count;
    for (std::size_t num_ids = 0;; ++num_ids) {  // as many ids as it asks for
      try {
        std::vector<std::int32_t> const ids(num_ids, 5);
        static_cast<void>(manager_.commit_step(in_flight_.front().step, valid, ids));
        break;
      } catch (ContractError const&) {
        if (num_ids > 200) throw;
      }
    }
    in_flight_.erase(in_flight_.begin());
  }

  void claim() {
    std::vector<std::int32_t> content = tokens();
    content.resize(content.size() / kBlockSize * kBlockSize);
    if (content.empty()) return;
    auto const footprint = static_cast<std::uint32_t>(content.size() / kBlockSize);
    std::uint32_t const start = pick(footprint);
    ClaimAnswer const answer =
        manager_.accept_claim({.content = {.root = RootId{pick(2)}, .tokens = content, .extras = {}},
                               .predicate_start = start,
                               .predicate_end = start + 1 + pick(footprint - start),
                               .mode = static_cast<ClaimMode>(pick(3)),
                               .max_protected_blocks = 12,
                               .deadline = {.step = static_cast<std::int64_t>(manager_.num_steps_planned() + pick(40))}},
                              now());
    if (answer.outcome == ClaimOutcome::kAccepted) claims_.push_back(answer.claim);
    std::vector<std::int32_t> const wanted = tokens();
    Conflict conflict(manager_, manager_.demand_of(Content{.root = RootId{0}, .tokens = wanted, .extras = {}}, 4));
    std::vector<ClaimId> const order(conflict.claims().begin(), conflict.claims().end());
    CHECK(conflict.sufficient(order).size() <= order.size());
  }

  void end_claim() {
    for (ClaimNotice const& notice : manager_.ledger().take_notices()) {
      if (notice.kind != EventKind::kClaimHarmed) continue;
      ++num_harmed_;
      std::erase(claims_, notice.claim);
    }
    if (claims_.empty()) return;
    std::size_t const i = pick(static_cast<std::uint32_t>(claims_.size()));
    manager_.end_claim(claims_[i], EventKind::kClaimReleased, now());
    claims_.erase(claims_.begin() + static_cast<std::ptrdiff_t>(i));
  }

  void expire(bool is_due) {
    if (!is_due) return;
    std::vector<ClaimId> const due = manager_.due_claims();
    CHECK(!due.empty());
    for (ClaimId const claim : due) {
      manager_.end_claim(claim, EventKind::kClaimExpired, now());
      std::erase(claims_, claim);
    }
  }

  void fault() {
    if (pick(3) == 0 && !claims_.empty()) return end_claim();
    if (pick(4) == 0) {
      static_cast<void>(manager_.reset(now()));
      return;
    }
    std::vector<std::int32_t> const blocks{static_cast<std::int32_t>(1 + pick(11)), static_cast<std::int32_t>(1 + pick(11))};
    static_cast<void>(manager_.invalidate(blocks, 1, now()));
  }

  [[nodiscard]] std::int64_t now() const { return static_cast<std::int64_t>(now_); }

  struct Flight {
    StepId step;
    std::vector<std::int32_t> counts;
  };
  std::mt19937 random_;
  BlockManager manager_;
  std::vector<Flight> in_flight_;
  std::vector<ClaimId> claims_;
  std::uint64_t now_ = 0;
  int num_admitted_ = 0;
  int num_harmed_ = 0;
};

TEST(every_invariant_holds_through_random_histories) {
  int num_admitted = 0;
  int num_harmed = 0;
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    Churn churn(seed);
    try {
      for (int i = 0; i < 600; ++i) churn.step();
    } catch (...) {
      std::cerr << "seed " << seed << "\n";
      throw;
    }
    num_admitted += churn.num_admitted();
    num_harmed += churn.num_harmed();
  }
  CHECK(num_admitted > 500 && num_harmed > 20);  // or it tested nothing
}

TEST(sizes_that_do_not_fit_are_refused) {
  BlockManager::Options options{.usable_blocks = 1U << 28,
                                .block_size = 16,
                                .null_block = true,
                                .max_requests = 1,
                                .max_blocks_per_request = 1,
                                .hash_seed = 0,
                                .block_events = false,
                                .retain_events = false};
  CHECK_THROWS(ContractError, BlockManager(options));  // slot numbers beyond int32
  options.usable_blocks = 4;
  options.max_blocks_per_request = 5;
  CHECK_THROWS(ContractError, BlockManager(options));
}

}  // namespace
}  // namespace residentkv
