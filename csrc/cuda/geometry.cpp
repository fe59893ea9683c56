#include "cuda/geometry.hpp"

#include <algorithm>

#include "core/check.hpp"

namespace residentkv::cuda {

namespace {
bool is_aligned(std::size_t number) { return number % kVectorBytes == 0; }
bool is_aligned(void const* pointer) { return is_aligned(reinterpret_cast<std::size_t>(pointer)); }
}  // namespace

Geometry::Geometry(KVLayout const& layout, HostSlots slots) : slots_(slots), num_blocks_(layout.num_blocks()) {
  RKV_REQUIRE(slots.base != nullptr && slots.num_slots > 0, "no slots");
  RKV_REQUIRE(slots.stride_bytes >= layout.block_bytes(), "a slot of ", slots.stride_bytes, " bytes does not hold a block of ",
              layout.block_bytes());
  layer_ends_.assign(layout.num_layers(), 0);
  for (std::size_t p = 0; p < layout.planes().size(); ++p) {
    Plane const& plane = layout.planes()[p];
    suits_kernels_ = suits_kernels_ && is_aligned(plane.base) && is_aligned(plane.stride_bytes) && is_aligned(plane.run_bytes);
    planes_.push_back({plane.base, static_cast<std::int64_t>(plane.stride_bytes), static_cast<std::int64_t>(plane.run_bytes),
                       static_cast<std::int64_t>(layout.slot_offset(p))});
    layer_ends_[plane.layer] = static_cast<std::uint32_t>(p + 1);
  }
  suits_kernels_ = suits_kernels_ && is_aligned(slots.base) && is_aligned(slots.stride_bytes) && planes_.size() <= kMaxKernelPlanes;
}

KernelPair Geometry::pair_at(std::uint32_t layer, std::byte const* device, std::byte const* slot) const {
  KernelPlane const& plane = planes_[this->layer(layer).begin];
  std::ptrdiff_t const in_plane = device - plane.base;
  std::ptrdiff_t const in_slots = slot - slots_.base - plane.slot_offset;
  auto const stride = static_cast<std::ptrdiff_t>(slots_.stride_bytes);
  bool const is_block = in_plane >= 0 && in_plane % plane.stride_bytes == 0 && in_plane / plane.stride_bytes < num_blocks_;
  bool const is_slot = in_slots >= 0 && in_slots % stride == 0 && in_slots / stride < slots_.num_slots;
  RKV_REQUIRE(is_block && is_slot, "a run of layer ", layer, " at ", static_cast<void const*>(device), " and ",
              static_cast<void const*>(slot), " is no block and slot of this backend's layout");
  return {static_cast<std::uint32_t>(in_plane / plane.stride_bytes), static_cast<std::uint32_t>(in_slots / stride)};
}

std::size_t Geometry::bytes_of(PlaneRange range) const noexcept {
  std::size_t total = 0;
  for (std::uint32_t p = range.begin; p < range.end; ++p) total += static_cast<std::size_t>(planes_[p].run_bytes);
  return total;
}

std::size_t Geometry::max_run_bytes(PlaneRange range) const noexcept {
  std::int64_t longest = 0;
  for (std::uint32_t p = range.begin; p < range.end; ++p) longest = std::max(longest, planes_[p].run_bytes);
  return static_cast<std::size_t>(longest);
}

}  // namespace residentkv::cuda
