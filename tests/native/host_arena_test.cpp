#include "tier/host_arena.hpp"

#include <algorithm>
#include <new>

#include "check.hpp"
#include "core/check.hpp"

namespace residentkv {
namespace {

TEST(an_arena_is_zeros_that_can_be_written) {
  HostArena const arena(100'000);
  CHECK_EQUAL(arena.num_bytes(), 100'000U);
  CHECK(std::all_of(arena.data(), arena.data() + arena.num_bytes(), [](std::byte byte) { return byte == std::byte{0}; }));
  arena.data()[99'999] = std::byte{1};
  CHECK_THROWS(ContractError, HostArena(0));
}

TEST(more_than_there_is_can_not_be_had) { CHECK_THROWS(std::bad_alloc, HostArena(std::size_t{1} << 60)); }

}  // namespace
}  // namespace residentkv
