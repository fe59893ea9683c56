#pragma once
// Where the bytes of a block lie: in device storage, and in a slot of a tier.
//
//   device:  plane p (one layer's keys, values, or both) holds block b in [base + b * stride_bytes, + run_bytes)
//   slot:    the runs of one block, plane after plane, in block_bytes contiguous bytes ("block-first")
//
// The memory is the caller's; a layout only describes it.
//
// Invariants: (1) planes are sorted by layer, and layers are 0 .. num_layers - 1. (2) stride_bytes >= run_bytes > 0.
// Thread safety: immutable.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/check.hpp"
#include "core/ids.hpp"

namespace residentkv {

struct Plane {
  std::byte* base;           // device memory
  std::size_t stride_bytes;  // from one block to the next
  std::size_t run_bytes;     // of one block
  std::uint32_t layer;
};

class KVLayout {
 public:
  // REQUIRES: at least one block and one plane, and the invariants.  THROWS: ContractError, with the plane at fault.
  KVLayout(std::vector<Plane> planes, std::uint32_t num_blocks) : planes_(std::move(planes)), num_blocks_(num_blocks) {
    RKV_REQUIRE(!planes_.empty() && num_blocks_ > 0, "a layout needs planes and blocks, got ", planes_.size(), " and ", num_blocks_);
    slot_offsets_.reserve(planes_.size());
    std::uint32_t layer = 0;
    for (std::size_t p = 0; p < planes_.size(); ++p) {
      Plane const& plane = planes_[p];
      RKV_REQUIRE(plane.base != nullptr, "plane ", p, " has no memory");
      RKV_REQUIRE(plane.run_bytes > 0 && plane.stride_bytes >= plane.run_bytes, "plane ", p, ": stride_bytes=", plane.stride_bytes,
                  " must be at least run_bytes=", plane.run_bytes, ", and that positive");
      RKV_REQUIRE(plane.layer == layer || (p > 0 && plane.layer == layer + 1), "plane ", p, " is of layer ", plane.layer,
                  ": planes must be sorted by layer, without a gap, from 0");
      layer = plane.layer;
      slot_offsets_.push_back(block_bytes_);
      block_bytes_ += plane.run_bytes;
    }
    num_layers_ = layer + 1;
  }

  [[nodiscard]] std::span<Plane const> planes() const noexcept { return planes_; }
  [[nodiscard]] std::uint32_t num_blocks() const noexcept { return num_blocks_; }
  [[nodiscard]] std::uint32_t num_layers() const noexcept { return num_layers_; }
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_bytes_; }
  // Where the run of plane `p` begins within a slot.
  [[nodiscard]] std::size_t slot_offset(std::size_t p) const noexcept { return slot_offsets_[p]; }

 private:
  std::vector<Plane> planes_;
  std::vector<std::size_t> slot_offsets_;
  std::uint32_t num_blocks_;
  std::uint32_t num_layers_ = 0;
  std::size_t block_bytes_ = 0;
};

}  // namespace residentkv
