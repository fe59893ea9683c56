#pragma once
// Where KV blocks and host slots are, in the terms of the copy kernels.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/copy_kernels.hpp"
#include "device/kv_layout.hpp"

namespace residentkv::cuda {

// A half-open range of planes: what one stage of a copy moves.
struct PlaneRange {
  std::uint32_t begin;
  std::uint32_t end;
  [[nodiscard]] std::uint32_t size() const noexcept { return end - begin; }
};

// Host slots: slot s is [base + s * stride_bytes, + a block's bytes).
struct HostSlots {
  std::byte* base;
  std::size_t stride_bytes;
  std::uint32_t num_slots;
};

// Thread safety: immutable after construction.
class Geometry {
 public:
  // REQUIRES: slots that hold a block of this layout.  THROWS: ContractError.
  Geometry(KVLayout const& layout, HostSlots slots);

  [[nodiscard]] std::uint32_t num_planes() const noexcept { return static_cast<std::uint32_t>(planes_.size()); }
  [[nodiscard]] std::uint32_t num_layers() const noexcept { return static_cast<std::uint32_t>(layer_ends_.size()); }
  [[nodiscard]] std::uint32_t num_blocks() const noexcept { return num_blocks_; }
  [[nodiscard]] PlaneRange all_planes() const noexcept { return {0, num_planes()}; }
  [[nodiscard]] PlaneRange layer(std::uint32_t layer) const noexcept {
    return {layer == 0 ? 0 : layer_ends_[layer - 1], layer_ends_[layer]};
  }
  [[nodiscard]] HostSlots const& slots() const noexcept { return slots_; }
  [[nodiscard]] std::byte* slot(std::uint32_t slot) const noexcept { return slots_.base + slot * slots_.stride_bytes; }
  [[nodiscard]] std::size_t slot_stride_bytes() const noexcept { return slots_.stride_bytes; }

  // As the kernels take them; slot_offset counts from the beginning of a slot.
  [[nodiscard]] std::vector<KernelPlane> const& planes() const noexcept { return planes_; }
  [[nodiscard]] std::byte* run(KernelPlane const& plane, std::uint32_t block) const noexcept {
    return plane.base + static_cast<std::int64_t>(block) * plane.stride_bytes;
  }
  // The block and the slot whose run of the first plane of `layer` is at these addresses.  THROWS: ContractError when there is none.
  [[nodiscard]] KernelPair pair_at(std::uint32_t layer, std::byte const* device, std::byte const* slot) const;
  // Bytes of one slot that these planes fill; they are contiguous.
  [[nodiscard]] std::size_t bytes_of(PlaneRange range) const noexcept;
  [[nodiscard]] std::size_t max_run_bytes(PlaneRange range) const noexcept;
  // True when the kernels' alignment and limits hold for every plane and slot.
  [[nodiscard]] bool suits_kernels() const noexcept { return suits_kernels_; }

 private:
  HostSlots slots_;
  std::uint32_t num_blocks_;
  std::vector<KernelPlane> planes_;
  std::vector<std::uint32_t> layer_ends_;  // layer l is the planes [layer_ends[l - 1], layer_ends[l])
  bool suits_kernels_ = true;
};

}  // namespace residentkv::cuda
