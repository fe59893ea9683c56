#include "core/raw_array.hpp"

#include <algorithm>
#include <cstdint>

#include "check.hpp"

namespace residentkv {
namespace {

TEST(growing_keeps_contents_and_starts_at_a_cache_line) {
  RawArray<std::int32_t> numbers;
  std::size_t written = 0;
  for (std::size_t size = 1; size < 300'000; size = size * 2 + 3) {  // small allocations move, large ones are remapped
    numbers.grow(size);
    CHECK_EQUAL(reinterpret_cast<std::uintptr_t>(numbers.data()) % 64, 0U);
    for (std::size_t i = 0; i < written; ++i) CHECK_EQUAL(numbers[i], static_cast<std::int32_t>(i));
    for (; written < size; ++written) numbers[written] = static_cast<std::int32_t>(written);
  }
}

TEST(a_zeroed_array_is_zero_wherever_nobody_wrote) {
  RawArray<std::uint32_t, Fill::kZero> counts(5);
  for (std::size_t i = 0; i < 5; ++i) CHECK_EQUAL(counts[i], 0U);
  counts[4] = 7;
  counts.grow(1'000);
  CHECK_EQUAL(counts[4], 7U);
  CHECK(std::all_of(counts.data() + 5, counts.data() + counts.size(), [](std::uint32_t count) { return count == 0; }));
}

TEST(a_moved_array_takes_its_contents_along) {
  RawArray<std::int32_t> from(3);
  from[2] = 9;
  RawArray<std::int32_t> to = std::move(from);
  CHECK_EQUAL(to[2], 9);
  RawArray<std::int32_t> assigned(1);
  assigned = std::move(to);
  assigned.grow(100);
  CHECK_EQUAL(assigned[2], 9);
}

}  // namespace
}  // namespace residentkv
