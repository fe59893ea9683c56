#pragma once
// The earliest deadline of all claims, on three clocks: planned steps, allocations, nanoseconds. Watching is three comparisons; nothing
// ends by itself: whoever is about to cross a deadline asks first, is told which claims are due, and the claim manager expires them.
// Complexity: would_cross O(1), set and clear O(log claims). Thread safety: none.
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "core/ids.hpp"

namespace residentkv {

// A point on the three clocks, and for a deadline the last point at which the claim is still protected. kNever: no deadline on that clock.
struct Moment {
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
  std::int64_t step = kNever;         // number of a planned step
  std::int64_t allocations = kNever;  // blocks taken so far
  std::int64_t now_ns = kNever;       // on the runtime's clock; a deadline here is crossed when reached

  [[nodiscard]] std::array<std::int64_t, 3> values() const noexcept { return {step, allocations, now_ns}; }
};

class DeadlineWatch {
 public:
  // Replaces the claim's deadlines.
  void set(ClaimId claim, Moment deadline) {
    clear(claim);
    std::array<std::int64_t, 3> const values = deadline.values();
    for (std::size_t clock = 0; clock < values.size(); ++clock) {
      if (values[clock] != Moment::kNever) due_[clock].emplace(values[clock], claim);
    }
    of_claim_[claim] = deadline;
    update();
  }

  void clear(ClaimId claim) {
    auto const found = of_claim_.find(claim);
    if (found == of_claim_.end()) return;
    std::array<std::int64_t, 3> const values = found->second.values();
    for (std::size_t clock = 0; clock < values.size(); ++clock) due_[clock].erase({values[clock], claim});
    of_claim_.erase(found);
    update();
  }

  [[nodiscard]] bool would_cross(Moment const& moment) const noexcept {
    return moment.step > earliest_.step || moment.allocations > earliest_.allocations || moment.now_ns >= earliest_.now_ns;
  }

  // Claims whose deadline `moment` crosses: by clock, then earliest first, each once.
  [[nodiscard]] std::vector<ClaimId> due(Moment const& moment) const {
    std::vector<ClaimId> claims;
    std::set<ClaimId> seen;
    std::array<std::int64_t, 3> const limits{moment.step - 1, moment.allocations - 1, moment.now_ns};
    for (std::size_t clock = 0; clock < due_.size(); ++clock) {
      for (auto const& [deadline, claim] : due_[clock]) {
        if (deadline > limits[clock]) break;
        if (seen.insert(claim).second) claims.push_back(claim);
      }
    }
    return claims;
  }

 private:
  void update() noexcept {
    auto const first = [this](std::size_t clock) { return due_[clock].empty() ? Moment::kNever : due_[clock].begin()->first; };
    earliest_ = {.step = first(0), .allocations = first(1), .now_ns = first(2)};
  }

  std::array<std::set<std::pair<std::int64_t, ClaimId>>, 3> due_;
  std::map<ClaimId, Moment> of_claim_;
  Moment earliest_;
};

}  // namespace residentkv
