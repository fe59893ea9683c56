#pragma once
// Where KV blocks and host slots are: planes of device storage on one side, block-first slots on the other.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/copy_kernels.hpp"

namespace residentkv::cuda {

// Block b of a plane is the run [base + b * stride_bytes, + run_bytes) of device memory, which is the caller's.
struct Plane {
  std::byte* base;
  std::size_t stride_bytes;
  std::size_t run_bytes;
};

// A half-open range of planes: what one stage of a copy moves.
struct PlaneRange {
  std::uint32_t begin;
  std::uint32_t end;
  [[nodiscard]] std::uint32_t size() const noexcept { return end - begin; }
};

// Thread safety: immutable after construction.
class Geometry {
 public:
  struct Options {
    std::vector<Plane> planes;              // in the order in which a slot holds their runs
    std::vector<std::uint32_t> layer_ends;  // ascending: layer l is the planes [layer_ends[l - 1], layer_ends[l]); the last is all planes
    std::uint32_t num_blocks;               // rows of every plane
    std::byte* slots;                       // num_slots times block_bytes(): page-locked host memory
    std::uint32_t num_slots;
  };
  // REQUIRES: at least one plane, block and slot; no null base; 0 < run_bytes <= stride_bytes; layer_ends as described.
  explicit Geometry(Options options);

  [[nodiscard]] std::uint32_t num_planes() const noexcept { return static_cast<std::uint32_t>(planes_.size()); }
  [[nodiscard]] std::uint32_t num_layers() const noexcept { return static_cast<std::uint32_t>(options_.layer_ends.size()); }
  [[nodiscard]] std::uint32_t num_blocks() const noexcept { return options_.num_blocks; }
  [[nodiscard]] std::uint32_t num_slots() const noexcept { return options_.num_slots; }
  [[nodiscard]] PlaneRange all_planes() const noexcept { return {0, num_planes()}; }
  [[nodiscard]] PlaneRange layer(std::uint32_t layer) const noexcept {
    return {layer == 0 ? 0 : options_.layer_ends[layer - 1], options_.layer_ends[layer]};
  }
  [[nodiscard]] std::size_t block_bytes() const noexcept { return block_bytes_; }
  [[nodiscard]] std::byte* slots() const noexcept { return options_.slots; }
  [[nodiscard]] std::byte* slot(std::uint32_t slot) const noexcept { return options_.slots + slot * block_bytes_; }

  // As the kernels take them; slot_offset counts from the beginning of a slot.
  [[nodiscard]] std::vector<KernelPlane> const& planes() const noexcept { return planes_; }
  [[nodiscard]] std::byte* run(KernelPlane const& plane, std::uint32_t block) const noexcept {
    return plane.base + static_cast<std::int64_t>(block) * plane.stride_bytes;
  }
  // Bytes of one slot that these planes fill; they are contiguous.
  [[nodiscard]] std::size_t bytes_of(PlaneRange range) const noexcept;
  [[nodiscard]] std::size_t max_run_bytes(PlaneRange range) const noexcept;
  // True when the kernels' alignment and limits hold for every plane and slot.
  [[nodiscard]] bool suits_kernels() const noexcept { return suits_kernels_; }

 private:
  Options options_;
  std::vector<KernelPlane> planes_;
  std::size_t block_bytes_ = 0;
  bool suits_kernels_ = true;
};

}  // namespace residentkv::cuda
