#include "device/fake_backend.hpp"

#include <string>

#include "check.hpp"
#include "copy/engine.hpp"
#include "copy_fixture.hpp"

namespace residentkv {
namespace {

using testing::CopyFixture;
using testing::pairs;

// Everything that can be seen of forty offloads and restores under all kinds of faults.
std::string history(std::uint64_t seed) {
  CopyFixture fixture({});
  FakeBackend::Options const options{
      .seed = seed, .max_pieces_per_poll = 2, .device_error_permille = 150, .corruption_permille = 150, .short_read_permille = 150};
  CopyEngine engine(fixture.layout(), fixture.slots(), std::make_unique<FakeBackend>(options), 6);
  std::string seen;
  std::vector<std::vector<std::uint64_t>> checksums(6);
  for (std::uint32_t i = 0; i < 6; ++i) fixture.write_block(i, i);
  for (int step = 0; step < 400; ++step) {
    std::uint32_t const i = static_cast<std::uint32_t>(step) % 6;
    if (step < 100 && step % 2 == 0) static_cast<void>(engine.offload(pairs({{i, i}})));
    if (step >= 200 && step % 4 == 0 && !checksums[i].empty()) static_cast<void>(engine.restore(pairs({{i, i}}), checksums[i]));
    for (CopyResult const& result : engine.poll()) {
      seen += std::to_string(index_of(result.ticket)) + ":" + std::to_string(static_cast<int>(result.state)) + "/" +
              std::to_string(static_cast<int>(result.error)) + " ";
      if (result.direction == Direction::kOffload && result.state == CopyState::kDone) {
        for (std::uint32_t slot = 0; slot < 6; ++slot) checksums[slot] = fixture.slot_is(slot, slot) ? result.checksums : checksums[slot];
      }
    }
  }
  engine.close();
  for (std::byte const byte : fixture.device) seen += static_cast<char>(byte);
  return seen;
}

TEST(the_same_seed_is_the_same_history) {
  CHECK(history(5) == history(5));
  CHECK(history(5) != history(6));
}

CopyResult until_over(CopyEngine& engine) {
  for (int i = 0; i < 10'000; ++i) {
    std::vector<CopyResult> results = engine.poll();
    if (!results.empty()) return results[0];
  }
  throw std::runtime_error("never over");
}

TEST(a_silent_corruption_is_found_when_the_block_comes_back) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    CopyFixture fixture({});
    CopyEngine engine(fixture.layout(), fixture.slots(),
                      std::make_unique<FakeBackend>(FakeBackend::Options{.seed = seed, .corruption_permille = 1000}), 4);
    fixture.write_block(3, 3);
    auto const named = pairs({{3, 1}});
    CHECK(engine.offload(named).has_value());
    CopyResult const out = until_over(engine);
    CHECK(out.state == CopyState::kDone);
    CHECK(!fixture.slot_is(1, 3));
    CHECK(engine.restore(named, out.checksums).has_value());
    CopyResult const back = until_over(engine);
    CHECK(back.state == CopyState::kFailed && back.error == CopyError::kChecksum);
    CHECK((back.failed_pairs == std::vector<std::uint32_t>{0}));
  }
}

TEST(every_fault_is_reported_as_what_it_is) {
  auto const error_of = [](FakeBackend::Options const& options, bool restores) {
    CopyFixture fixture({});
    fixture.write_block(2, 2);
    CopyEngine engine(fixture.layout(), fixture.slots(), std::make_unique<FakeBackend>(options), 4);
    std::vector<std::uint64_t> const expected(fixture.shape.num_layers);
    CHECK((restores ? engine.restore(pairs({{2, 0}}), expected) : engine.offload(pairs({{2, 0}}))).has_value());
    CopyResult const result = until_over(engine);
    CHECK(result.state == CopyState::kFailed && !result.error_detail.empty());
    CHECK((result.failed_pairs == std::vector<std::uint32_t>{0}));
    return result.error;
  };
  CHECK(error_of({.device_error_permille = 1000}, false) == CopyError::kDevice);
  CHECK(error_of({}, true) == CopyError::kChecksum);
  CopyError const cut = error_of({.short_read_permille = 1000}, true);
  CHECK(cut == CopyError::kShortRead || cut == CopyError::kChecksum);  // the other layers do not match either
}

TEST(a_stalled_copy_ends_only_when_it_is_stopped) {
  CopyFixture fixture({});
  CopyEngine engine(fixture.layout(), fixture.slots(), std::make_unique<FakeBackend>(FakeBackend::Options{.stall_permille = 1000}), 4);
  TicketId const late = *engine.offload(pairs({{0, 0}}));
  TicketId const unwanted = *engine.offload(pairs({{1, 1}}));
  for (int i = 0; i < 1'000; ++i) CHECK(engine.poll().empty());
  engine.stop(late, CopyError::kTimeout);
  CopyResult const first = until_over(engine);
  CHECK(first.ticket == late && first.state == CopyState::kFailed && first.error == CopyError::kTimeout);
  engine.stop(unwanted, CopyError::kCancelled);
  CHECK(until_over(engine).state == CopyState::kCancelled);
}

TEST(faults_add_up_to_at_most_all_jobs) {
  CHECK_THROWS(ContractError, FakeBackend({.device_error_permille = 600, .stall_permille = 600}));
  CHECK_THROWS(ContractError, FakeBackend({.max_pieces_per_poll = 0}));
}

}  // namespace
}  // namespace residentkv
