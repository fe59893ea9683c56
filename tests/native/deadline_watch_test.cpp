#include "alloc/deadline_watch.hpp"

#include "check.hpp"

namespace residentkv {
namespace {

TEST(a_deadline_on_steps_or_allocations_is_crossed_beyond_it_and_on_the_clock_when_reached) {
  DeadlineWatch watch;
  watch.set(ClaimId{1}, {.step = 5, .allocations = 10, .now_ns = 100});
  CHECK(!watch.would_cross({.step = 5, .allocations = 10, .now_ns = 99}));
  CHECK(watch.would_cross({.step = 6, .allocations = 0, .now_ns = 0}));
  CHECK(watch.would_cross({.step = 0, .allocations = 11, .now_ns = 0}));
  CHECK(watch.would_cross({.step = 0, .allocations = 0, .now_ns = 100}));
}

TEST(due_claims_come_earliest_first_and_once) {
  DeadlineWatch watch;
  watch.set(ClaimId{1}, {.now_ns = 30});
  watch.set(ClaimId{2}, {.now_ns = 20});
  watch.set(ClaimId{3}, {.step = 1, .now_ns = 25});
  watch.set(ClaimId{4}, {.now_ns = 99});
  std::vector<ClaimId> const due = watch.due({.step = 2, .allocations = 0, .now_ns = 30});
  CHECK(due == (std::vector<ClaimId>{ClaimId{3}, ClaimId{2}, ClaimId{1}}));
}

TEST(a_cleared_or_moved_deadline_is_forgotten) {
  DeadlineWatch watch;
  watch.set(ClaimId{1}, {.step = 1});
  watch.set(ClaimId{1}, {.step = 9});
  CHECK(!watch.would_cross({.step = 2, .allocations = 0, .now_ns = 0}));
  watch.clear(ClaimId{1});
  CHECK(!watch.would_cross({.step = 100, .allocations = 0, .now_ns = 0}));
}

}  // namespace
}  // namespace residentkv
