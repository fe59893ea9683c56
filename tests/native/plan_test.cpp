#include "copy/plan.hpp"

#include <map>
#include <random>

#include "check.hpp"
#include "copy_fixture.hpp"

namespace residentkv {
namespace {

using testing::CopyFixture;
using testing::pairs;

// Every (device byte, slot byte) that a list of runs moves, with how often.
std::map<std::pair<std::byte*, std::byte*>, int> moves(std::span<Run const> runs) {
  std::map<std::pair<std::byte*, std::byte*>, int> moved;
  for (Run const& run : runs) {
    for (std::size_t i = 0; i < run.num_bytes; ++i) ++moved[{run.device + i, run.slot + i}];
  }
  return moved;
}

std::map<std::pair<std::byte*, std::byte*>, int> wanted(CopyFixture& fixture, std::span<BlockPair const> named) {
  std::map<std::pair<std::byte*, std::byte*>, int> moved;
  for (BlockPair const& pair : named) {
    for (std::size_t p = 0; p < fixture.num_planes(); ++p) {
      for (std::size_t i = 0; i < fixture.shape.run_bytes; ++i) {
        std::byte* const slot = fixture.slot(index_of(pair.slot)) + p * fixture.shape.run_bytes + i;
        ++moved[{fixture.run(p, index_of(pair.block)) + i, slot}];
      }
    }
  }
  return moved;
}

TEST(a_plan_moves_every_byte_once_and_nothing_else) {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    CopyFixture fixture({.num_layers = 1 + static_cast<std::uint32_t>(random() % 3),
                         .run_bytes = 1 + random() % 9,
                         .gap_bytes = random() % 2 * 3,
                         .misalignment = random() % 4});
    std::vector<std::uint32_t> blocks{0, 1, 2, 3, 4, 5, 6, 7};
    std::vector<std::uint32_t> slots{0, 1, 2, 3, 4, 5};
    if (round % 2 == 1) std::ranges::shuffle(blocks, random);
    if (round % 2 == 1) std::ranges::shuffle(slots, random);
    std::vector<BlockPair> named;
    std::size_t const num_pairs = 1 + random() % 6;
    named.reserve(num_pairs);
    for (std::size_t i = 0; i < num_pairs; ++i) named.push_back({.block = BlockId{blocks[i]}, .slot = SlotId{slots[i]}});
    std::vector<std::uint64_t> const expected(named.size() * fixture.shape.num_layers);
    KVLayout const layout = fixture.layout();
    for (Direction const direction : {Direction::kOffload, Direction::kRestore}) {
      bool const is_restore = direction == Direction::kRestore;
      auto const job = plan_copy(direction, layout, fixture.slots(), named,
                                 is_restore ? std::span<std::uint64_t const>(expected) : std::span<std::uint64_t const>());
      auto const all = wanted(fixture, named);
      CHECK(moves(job->runs) == all);
      CHECK(moves(coalesced(*job)) == all);
      // The pieces cut the runs without a gap, and each moves bytes of its own pair and layer only.
      std::uint32_t next_run = 0;
      for (std::size_t i = 0; i < job->pieces.size(); ++i) {
        Piece const& piece = job->pieces[i];
        CHECK_EQUAL(piece.first_run, next_run);
        next_run += piece.num_runs;
        std::size_t const pair = is_restore ? i % named.size() : i / layout.num_layers();
        std::size_t const layer = is_restore ? i / named.size() : i % layout.num_layers();
        CHECK_EQUAL(piece.pair, static_cast<std::uint32_t>(pair));
        CHECK_EQUAL(piece.layer, static_cast<std::uint32_t>(layer));
        std::byte const* const slot = fixture.slot(index_of(named[pair].slot)) + layer * 2 * fixture.shape.run_bytes;
        CHECK(job->runs[piece.first_run].slot == slot);
      }
      CHECK_EQUAL(next_run, static_cast<std::uint32_t>(job->runs.size()));
    }
  }
}

TEST(keys_and_values_that_touch_are_one_run) {
  std::vector<std::byte> device(4 * 32);
  std::vector<std::byte> memory(2 * 32);
  KVLayout const layout({{.base = device.data(), .stride_bytes = 32, .run_bytes = 16, .layer = 0},
                         {.base = device.data() + 16, .stride_bytes = 32, .run_bytes = 16, .layer = 0}},
                        4);
  SlotArray const slots{.base = memory.data(), .stride_bytes = 32, .num_slots = 2};
  auto const job = plan_copy(Direction::kOffload, layout, slots, pairs({{2, 0}, {3, 1}}), {});
  CHECK_EQUAL(job->runs.size(), 2U);
  std::vector<Run> const merged = coalesced(*job);
  CHECK_EQUAL(merged.size(), 1U);  // neighbours in both places
  CHECK_EQUAL(merged[0].num_bytes, 64U);
}

TEST(bad_pairs_are_the_callers_mistake) {
  CopyFixture fixture({});
  KVLayout const layout = fixture.layout();
  auto const plan = [&](std::vector<BlockPair> const& named) { return plan_copy(Direction::kOffload, layout, fixture.slots(), named, {}); };
  CHECK_THROWS(ContractError, plan({}));
  CHECK_THROWS(ContractError, plan(pairs({{8, 0}})));
  CHECK_THROWS(ContractError, plan(pairs({{0, 6}})));
  CHECK_THROWS(ContractError, plan(pairs({{0, 0}, {0, 1}})));
  CHECK_THROWS(ContractError, plan(pairs({{0, 1}, {2, 1}})));
  CHECK_THROWS(ContractError, plan_copy(Direction::kRestore, layout, fixture.slots(), pairs({{0, 0}}), {}));
  SlotArray small = fixture.slots();
  --small.stride_bytes;
  CHECK_THROWS(ContractError, plan_copy(Direction::kOffload, layout, small, pairs({{0, 0}}), {}));
}

TEST(bad_layouts_are_the_callers_mistake) {
  std::vector<std::byte> memory(64);
  Plane const good{.base = memory.data(), .stride_bytes = 16, .run_bytes = 16, .layer = 0};
  auto const with = [&](auto&& change) {
    Plane plane = good;
    change(plane);
    return KVLayout({plane}, 4);
  };
  CHECK_THROWS(ContractError, KVLayout({}, 4));  // no layers
  CHECK_THROWS(ContractError, KVLayout({good}, 0));
  CHECK_THROWS(ContractError, with([](Plane& plane) { plane.base = nullptr; }));
  CHECK_THROWS(ContractError, with([](Plane& plane) { plane.run_bytes = 0; }));
  CHECK_THROWS(ContractError, with([](Plane& plane) { plane.run_bytes = 17; }));
  CHECK_THROWS(ContractError, with([](Plane& plane) { plane.layer = 1; }));
}

}  // namespace
}  // namespace residentkv
