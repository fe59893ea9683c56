#include "device/host_backend.hpp"

#include <thread>

#include "check.hpp"
#include "copy/engine.hpp"
#include "copy_fixture.hpp"

namespace residentkv {
namespace {

using std::chrono::seconds;
using testing::CopyFixture;
using testing::kGuard;
using testing::pairs;

CopyResult only(CopyEngine& engine, TicketId ticket) {
  CHECK(engine.wait(ticket, seconds(30)));
  std::vector<CopyResult> results = engine.poll();
  CHECK_EQUAL(results.size(), 1U);
  CHECK(results[0].ticket == ticket);
  return results[0];
}

TEST(blocks_come_back_as_they_left_and_no_other_byte_changes) {
  for (std::uint32_t const num_threads : {1U, 3U}) {
    for (std::size_t const run_bytes : {std::size_t{13}, std::size_t{4'096}, std::size_t{8'200}}) {
      for (std::size_t const misalignment : {std::size_t{0}, std::size_t{1}}) {
        CopyFixture fixture({.run_bytes = run_bytes, .misalignment = misalignment});
        CopyEngine engine(fixture.layout(), fixture.slots(), std::make_unique<HostBackend>(num_threads), 4);
        for (std::uint32_t const block : {1U, 4U, 6U}) fixture.write_block(block, block);
        std::vector<std::byte> const device_before = fixture.device;
        CopyResult const out = only(engine, *engine.offload(pairs({{4, 2}, {1, 5}, {6, 0}})));
        CHECK(out.state == CopyState::kDone);
        CHECK(fixture.device == device_before);
        CHECK(fixture.slot_is(2, 4) && fixture.slot_is(5, 1) && fixture.slot_is(0, 6));
        CHECK(std::all_of(fixture.slot(1), fixture.slot(2), [](std::byte byte) { return byte == kGuard; }));
        CHECK(std::all_of(fixture.slot(3), fixture.slot(5), [](std::byte byte) { return byte == kGuard; }));

        std::vector<std::byte> const slots_before = fixture.slots_memory;
        std::ranges::fill(fixture.device, kGuard);
        CopyResult const back = only(engine, *engine.restore(pairs({{0, 2}, {3, 5}, {6, 0}}), out.checksums));
        CHECK(back.state == CopyState::kDone && back.failed_pairs.empty());
        CHECK(fixture.slots_memory == slots_before);
        CHECK(fixture.block_is(0, 4) && fixture.block_is(3, 1) && fixture.block_is(6, 6));
        CopyFixture expected({.run_bytes = run_bytes, .misalignment = misalignment});
        expected.write_block(0, 4);
        expected.write_block(3, 1);
        expected.write_block(6, 6);
        CHECK(fixture.device == expected.device);
      }
    }
  }
}

TEST(a_restore_names_exactly_the_blocks_that_changed_in_the_tier) {
  CopyFixture fixture({});
  CopyEngine engine(fixture.layout(), fixture.slots(), std::make_unique<HostBackend>(2), 4);
  for (std::uint32_t block = 0; block < 4; ++block) fixture.write_block(block, block);
  auto const named = pairs({{0, 0}, {1, 1}, {2, 2}, {3, 3}});
  CopyResult const out = only(engine, *engine.offload(named));
  fixture.slot(1)[0] ^= std::byte{1};
  fixture.slot(3)[fixture.slots().stride_bytes - 1] ^= std::byte{0x80};
  CopyResult const back = only(engine, *engine.restore(named, out.checksums));
  CHECK(back.state == CopyState::kFailed && back.error == CopyError::kChecksum);
  CHECK((back.failed_pairs == std::vector<std::uint32_t>{1, 3}));
  CHECK(fixture.block_is(0, 0) && fixture.block_is(2, 2));
}

TEST(keys_and_values_exchanged_in_a_slot_do_not_come_back) {
  CopyFixture fixture({.num_layers = 1});
  CopyEngine engine(fixture.layout(), fixture.slots(), std::make_unique<HostBackend>(1), 4);
  fixture.write_block(0, 9);
  CopyResult const out = only(engine, *engine.offload(pairs({{0, 0}})));
  std::swap_ranges(fixture.slot(0), fixture.slot(0) + fixture.shape.run_bytes, fixture.slot(0) + fixture.shape.run_bytes);
  CHECK(only(engine, *engine.restore(pairs({{0, 0}}), out.checksums)).error == CopyError::kChecksum);
}

TEST(layers_arrive_in_order_and_verified) {
  CopyFixture fixture({.num_layers = 8, .run_bytes = 4'096});
  CopyEngine engine(fixture.layout(), fixture.slots(), std::make_unique<HostBackend>(2), 4);
  for (std::uint32_t block = 0; block < 6; ++block) fixture.write_block(block, block);
  auto const named = pairs({{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}});
  CopyResult const out = only(engine, *engine.offload(named));
  std::ranges::fill(fixture.device, kGuard);
  fixture.slot(2)[5 * 2 * fixture.shape.run_bytes] ^= std::byte{1};  // layer 5 of pair 2
  TicketId const ticket = *engine.restore(named, out.checksums);
  for (std::uint32_t layers = 1; layers <= 5; ++layers) {
    CHECK(engine.wait_layers(ticket, layers, seconds(30)));
    for (std::uint32_t block = 0; block < 6; ++block) {
      std::size_t const last = std::size_t{2} * layers - 1;
      CHECK(fixture.run(last, block)[0] == CopyFixture::value(block, last * fixture.shape.run_bytes));
    }
  }
  CHECK(!engine.wait_layers(ticket, 6, seconds(30)));  // it ends without that layer
  CopyResult const back = only(engine, ticket);
  CHECK((back.failed_pairs == std::vector<std::uint32_t>{2}));
}

TEST(many_tickets_at_once_end_once_each) {
  CopyFixture fixture({.num_blocks = 64, .num_slots = 64, .run_bytes = 5'000});
  CopyEngine engine(fixture.layout(), fixture.slots(), std::make_unique<HostBackend>(3), 64);
  for (std::uint32_t block = 0; block < 64; ++block) fixture.write_block(block, block);
  for (std::uint32_t i = 0; i < 64; ++i) CHECK(engine.offload(pairs({{i, 63 - i}})).has_value());
  CHECK(!engine.offload(pairs({{0, 0}})).has_value());
  std::vector<bool> seen(64, false);
  std::uint32_t num_ended = 0;
  while (num_ended < 64) {
    for (CopyResult const& result : engine.poll()) {
      CHECK(result.state == CopyState::kDone && !seen[index_of(result.ticket)]);
      seen[index_of(result.ticket)] = true;
      CHECK(fixture.slot_is(static_cast<std::uint32_t>(63 - index_of(result.ticket)), static_cast<std::uint32_t>(index_of(result.ticket))));
      ++num_ended;
    }
    std::this_thread::yield();
  }
  CHECK_EQUAL(engine.num_in_flight(), 0U);
}

TEST(a_closed_engine_lets_go_of_all_memory) {
  for (int round = 0; round < 20; ++round) {
    auto fixture = std::make_unique<CopyFixture>(CopyFixture::Shape{.num_blocks = 32, .num_slots = 32, .run_bytes = 16'384});
    CopyEngine engine(fixture->layout(), fixture->slots(), std::make_unique<HostBackend>(2), 8);
    for (std::uint32_t i = 0; i < 8; ++i) CHECK(engine.offload(pairs({{i, i}, {i + 8, i + 8}, {i + 16, i + 16}})).has_value());
    engine.close();
    fixture.reset();  // a backend that still writes is found by AddressSanitizer
    std::vector<CopyResult> const results = engine.poll();
    CHECK_EQUAL(results.size(), 8U);
    for (CopyResult const& result : results) CHECK(result.state == CopyState::kDone || result.state == CopyState::kCancelled);
    CHECK_EQUAL(engine.num_in_flight(), 0U);
    engine.close();
  }
}

TEST(a_backend_needs_threads) {
  CHECK_THROWS(ContractError, HostBackend(0));
  CHECK_THROWS(ContractError, HostBackend(257));
}

}  // namespace
}  // namespace residentkv
