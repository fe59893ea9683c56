#include "copy/plan.hpp"

#include <algorithm>
#include <vector>

#include "core/check.hpp"

namespace residentkv {

namespace {

void check_pairs(KVLayout const& layout, SlotArray const& slots, std::span<BlockPair const> pairs) {
  RKV_REQUIRE(!pairs.empty(), "a copy needs at least one pair");
  RKV_REQUIRE(slots.stride_bytes >= layout.block_bytes(), "a slot of ", slots.stride_bytes, " bytes does not hold a block of ",
              layout.block_bytes());
  std::vector<std::uint32_t> blocks;
  std::vector<std::uint32_t> taken_slots;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    std::uint32_t const block = index_of(pairs[i].block);
    std::uint32_t const slot = index_of(pairs[i].slot);
    RKV_REQUIRE(block < layout.num_blocks(), "pair ", i, ": block ", block, " of ", layout.num_blocks());
    RKV_REQUIRE(slot < slots.num_slots, "pair ", i, ": slot ", slot, " of ", slots.num_slots);
    blocks.push_back(block);
    taken_slots.push_back(slot);
  }
  for (auto* const named : {&blocks, &taken_slots}) {
    std::ranges::sort(*named);
    auto const twice = std::ranges::adjacent_find(*named);
    RKV_REQUIRE(twice == named->end(), (named == &blocks ? "block " : "slot "), *twice, " is named twice");
  }
}

bool continues(Run const& last, Run const& next) noexcept {
  return last.device + last.num_bytes == next.device && last.slot + last.num_bytes == next.slot;
}

}  // namespace

std::shared_ptr<CopyJob> plan_copy(Direction direction, KVLayout const& layout, SlotArray const& slots, std::span<BlockPair const> pairs,
                                   std::span<std::uint64_t const> expected) {
  check_pairs(layout, slots, pairs);
  std::size_t const num_pieces = pairs.size() * layout.num_layers();
  RKV_REQUIRE(expected.size() == (direction == Direction::kRestore ? num_pieces : 0), expected.size(), " checksums for ", pairs.size(),
              " blocks of ", layout.num_layers(), " layers");
  auto job = std::make_shared<CopyJob>();
  job->direction = direction;
  job->num_pairs = static_cast<std::uint32_t>(pairs.size());
  job->num_layers = layout.num_layers();
  job->checksums.assign(expected.begin(), expected.end());
  job->checksums.resize(num_pieces);
  job->pieces.reserve(num_pieces);
  job->runs.reserve(pairs.size() * layout.planes().size());

  std::vector<std::uint32_t> first_plane(layout.num_layers() + 1, static_cast<std::uint32_t>(layout.planes().size()));
  for (std::uint32_t p = first_plane.back(); p-- > 0;) first_plane[layout.planes()[p].layer] = p;
  auto const add_piece = [&](std::uint32_t pair, std::uint32_t layer) {
    Piece piece{.pair = pair, .layer = layer, .first_run = static_cast<std::uint32_t>(job->runs.size()), .num_runs = 0};
    std::byte* const slot = slots.base + index_of(pairs[pair].slot) * slots.stride_bytes;
    for (std::uint32_t p = first_plane[layer]; p < first_plane[layer + 1]; ++p) {
      Plane const& plane = layout.planes()[p];
      Run const run{.device = plane.base + index_of(pairs[pair].block) * plane.stride_bytes,
                    .slot = slot + layout.slot_offset(p),
                    .num_bytes = plane.run_bytes};
      if (piece.num_runs > 0 && continues(job->runs.back(), run)) {
        job->runs.back().num_bytes += run.num_bytes;
      } else {
        job->runs.push_back(run);
        ++piece.num_runs;
      }
    }
    job->pieces.push_back(piece);
  };
  if (direction == Direction::kOffload) {
    for (std::uint32_t pair = 0; pair < job->num_pairs; ++pair) {
      for (std::uint32_t layer = 0; layer < job->num_layers; ++layer) add_piece(pair, layer);
    }
  } else {
    for (std::uint32_t layer = 0; layer < job->num_layers; ++layer) {
      for (std::uint32_t pair = 0; pair < job->num_pairs; ++pair) add_piece(pair, layer);
    }
  }
  return job;
}

std::vector<Run> coalesced(CopyJob const& job) {
  std::vector<Run> merged;
  for (Run const& run : job.runs) {
    if (!merged.empty() && continues(merged.back(), run)) {
      merged.back().num_bytes += run.num_bytes;
    } else {
      merged.push_back(run);
    }
  }
  return merged;
}

}  // namespace residentkv
