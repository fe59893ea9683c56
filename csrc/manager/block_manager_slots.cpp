// Where the tokens of a planned step go: slot mappings, and block tables in a caller's memory.
#include <algorithm>
#include <array>
#include <cstring>

#include "manager/block_manager.hpp"

namespace residentkv {

// Writes the slots of the row's next `count` positions and moves past them.  REQUIRES: blocks are held for them.
std::int32_t* BlockManager::map_slots(RowId id, std::uint32_t count, std::int32_t* slot) noexcept {
  Row& row = requests_.row(id);
  Request const& request = requests_.request(id);
  while (count > 0) {
    std::uint32_t const offset = row.num_planned % options_.block_size;
    std::uint32_t const run = std::min(count, options_.block_size - offset);
    auto first = static_cast<std::int32_t>(index_of(request.blocks[row.num_planned / options_.block_size]) * options_.block_size + offset);
    std::uint32_t i = 0;
    for (; i + 4 <= run; i += 4, first += 4) {  // four at a time: one vector store
      std::array<std::int32_t, 4> const four{first, first + 1, first + 2, first + 3};
      std::memcpy(slot + i, four.data(), sizeof(four));
    }
    for (; i < run; ++i) slot[i] = first++;
    slot += run;
    row.num_planned += run;
    count -= run;
  }
  requests_.seek(id);
  return slot;
}

void BlockManager::write_target(StepTarget const& target, std::span<std::int32_t const> rows) const noexcept {
  std::int32_t const padding = buffers_.options().padding;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<BlockId> const& blocks = requests_.request(RowId{static_cast<std::uint32_t>(rows[i])}).blocks;
    std::int32_t* const entries = target.block_table + i * target.width;
    std::size_t const size = std::min(blocks.size(), target.width);
    for (std::size_t j = 0; j < size; ++j) entries[j] = static_cast<std::int32_t>(index_of(blocks[j]));
    std::fill(entries + size, entries + target.width, padding);
  }
}

void BlockManager::check_target(StepTarget const& target, std::span<std::int32_t const> rows, std::span<std::int32_t const> counts,
                                std::uint64_t num_tokens) const {
  RKV_REQUIRE(target.num_rows >= rows.size() && target.num_tokens >= num_tokens, "out holds ", target.num_rows, " rows and ",
              target.num_tokens, " slots, the step needs ", rows.size(), " and ", num_tokens);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RowId const id{static_cast<std::uint32_t>(rows[i])};
    std::uint64_t const end = requests_.row(id).num_planned + static_cast<std::uint64_t>(counts[i]);
    std::size_t const num_blocks = std::max<std::size_t>(blocks_for(end, options_.block_size), requests_.request(id).blocks.size());
    RKV_REQUIRE(num_blocks <= target.width, "out's block_table is ", target.width, " entries wide, row ", rows[i], " has ", num_blocks,
                " blocks");
  }
}

}  // namespace residentkv
