#pragma once
// What a planned step hands to the model: block tables, slot mapping, context lengths. Three sets rotate, so a step's arrays stay untouched
// while two later steps are planned. A row's entries persist: only what changed since a set last saw the row is written, and a set lists
// the rows it has to see, so that a step does not ask every row of its batch.
//
// Entries beyond a row's blocks hold `padding` (0 with a null block, else -1).
// Thread safety: none. Memory is reserved up front and touched on use.
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/ids.hpp"
#include "core/raw_array.hpp"

namespace residentkv {

struct BlockCopy {
  std::int32_t source;
  std::int32_t target;
};

class StepBuffers {
 public:
  static constexpr std::uint32_t kNumSets = 3;
  struct Options {
    std::uint32_t max_requests;
    std::uint32_t max_blocks_per_request;
    std::uint64_t max_tokens;  // per step
    std::int32_t padding;
  };
  struct Set {
    std::uint64_t step = 0;                           // id of the step that owns the set
    RawArray<std::int32_t, Fill::kZero> block_table;  // [max_requests, max_blocks_per_request]
    RawArray<std::int32_t> slot_mapping;              // [max_tokens]
    RawArray<std::int32_t> rows;                      // [max_requests]
    RawArray<std::int32_t> context_lens;              // [max_requests]
    std::vector<BlockCopy> copies;
    std::vector<std::uint32_t> synced;  // per row: entries that are up to date
    std::vector<std::uint32_t> filled;  // per row: entries ever written since the last padding
    std::vector<RowId> stale;           // rows with entries that are not up to date, each once
  };

  explicit StepBuffers(Options options) : options_(options), stale_in_(options.max_requests, 0) {
    for (Set& set : sets_) {
      set.block_table.grow(std::size_t{options.max_requests} * options.max_blocks_per_request);
      set.slot_mapping.grow(options.max_tokens);
      set.rows.grow(options.max_requests);
      set.context_lens.grow(options.max_requests);
      set.synced.resize(options.max_requests, 0);
      set.stale.reserve(options.max_requests);
      set.filled.resize(options.max_requests, options.padding == 0 ? 0 : options.max_blocks_per_request);
    }
  }

  [[nodiscard]] Options const& options() const noexcept { return options_; }
  [[nodiscard]] Set& set(std::uint64_t step) noexcept { return sets_[step % kNumSets]; }
  [[nodiscard]] Set const& set(std::uint64_t step) const noexcept { return sets_[step % kNumSets]; }

  // The row's entries from `index` on changed.  O(1).
  void touch(RowId row, std::uint32_t index) noexcept {
    for (std::uint32_t i = 0; i < kNumSets; ++i) {
      Set& set = sets_[i];
      set.synced[index_of(row)] = std::min(set.synced[index_of(row)], index);
      if ((stale_in_[index_of(row)] & (1U << i)) == 0) set.stale.push_back(row);
    }
    stale_in_[index_of(row)] = (1U << kNumSets) - 1;
  }
  // Brings every row up to date in the step's set; blocks_of(row) are its blocks now.  O(entries changed since they last were).
  template <typename BlocksOf>
  void sync(std::uint64_t step, BlocksOf&& blocks_of) noexcept {
    Set& set = this->set(step);
    for (RowId const row : set.stale) {
      sync_row(set, row, blocks_of(row));
      stale_in_[index_of(row)] &= static_cast<std::uint8_t>(~(1U << (step % kNumSets)));
    }
    set.stale.clear();
  }

 private:
  void sync_row(Set& set, RowId row, std::span<BlockId const> blocks) const noexcept {
    std::uint32_t const from = set.synced[index_of(row)];
    auto const size = static_cast<std::uint32_t>(blocks.size());
    if (from == size && set.filled[index_of(row)] <= size) return;
    std::int32_t* entries = set.block_table.data() + std::size_t{index_of(row)} * options_.max_blocks_per_request;
    for (std::uint32_t i = from; i < size; ++i) entries[i] = static_cast<std::int32_t>(index_of(blocks[i]));
    for (std::uint32_t i = size; i < set.filled[index_of(row)]; ++i) entries[i] = options_.padding;
    set.synced[index_of(row)] = size;
    set.filled[index_of(row)] = size;
  }

  Options options_;
  std::array<Set, kNumSets> sets_;
  std::vector<std::uint8_t> stale_in_;  // per row, bit i: set i lists it as stale
};

}  // namespace residentkv
