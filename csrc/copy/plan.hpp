#pragma once
// From block pairs to the runs of bytes that have to be moved. Pure: nothing is copied and nothing is remembered.
#include <memory>
#include <span>
#include <vector>

#include "device/copy_job.hpp"
#include "device/kv_layout.hpp"

namespace residentkv {

// The slots of one tier: slot s is [base + s * stride_bytes, + a block's bytes).
struct SlotArray {
  std::byte* base;
  std::size_t stride_bytes;
  std::uint32_t num_slots;
};

// A job that moves `pairs`. An offload goes block by block, a restore layer by layer. Runs of a piece that continue each other at both ends
// are one. `expected` are the checksums of a restore, [pair][layer]; an offload takes none.
//
// REQUIRES: at least one pair; blocks and slots in range and each named once; expected.size() == pairs * layers for a restore, else 0;
// slots.stride_bytes >= layout.block_bytes().  THROWS: ContractError, with the pair at fault.  O(pairs * planes).
[[nodiscard]] std::shared_ptr<CopyJob> plan_copy(Direction direction, KVLayout const& layout, SlotArray const& slots,
                                                 std::span<BlockPair const> pairs, std::span<std::uint64_t const> expected);

// The job's runs, in the order of its pieces, with those that continue each other at both ends as one: for devices that are told of runs
// one by one. O(runs).
[[nodiscard]] std::vector<Run> coalesced(CopyJob const& job);

}  // namespace residentkv
