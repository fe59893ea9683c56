#include "cuda/geometry.hpp"

#include <algorithm>

#include "core/check.hpp"

namespace residentkv::cuda {

namespace {
bool is_aligned(std::size_t number) { return number % kVectorBytes == 0; }
bool is_aligned(void const* pointer) { return is_aligned(reinterpret_cast<std::size_t>(pointer)); }
}  // namespace

Geometry::Geometry(Options options) : options_(std::move(options)) {
  RKV_REQUIRE(!options_.planes.empty(), "no planes: KV storage has at least one");
  RKV_REQUIRE(options_.num_blocks > 0 && options_.num_slots > 0, "num_blocks=", options_.num_blocks, " num_slots=", options_.num_slots,
              ": both must be > 0");
  RKV_REQUIRE(options_.slots != nullptr, "slots is null");
  for (Plane const& plane : options_.planes) {
    std::size_t const index = planes_.size();
    RKV_REQUIRE(plane.base != nullptr, "plane ", index, " has no memory");
    RKV_REQUIRE(plane.run_bytes > 0 && plane.run_bytes <= plane.stride_bytes, "plane ", index, ": run_bytes=", plane.run_bytes,
                " must be in 1 .. stride_bytes=", plane.stride_bytes);
    suits_kernels_ = suits_kernels_ && is_aligned(plane.base) && is_aligned(plane.stride_bytes) && is_aligned(plane.run_bytes);
    planes_.push_back({plane.base, static_cast<std::int64_t>(plane.stride_bytes), static_cast<std::int64_t>(plane.run_bytes),
                       static_cast<std::int64_t>(block_bytes_)});
    block_bytes_ += plane.run_bytes;
  }
  suits_kernels_ = suits_kernels_ && is_aligned(options_.slots) && planes_.size() <= kMaxKernelPlanes;
  std::vector<std::uint32_t> const& ends = options_.layer_ends;
  bool const is_ascending = std::adjacent_find(ends.begin(), ends.end(), std::greater_equal<>()) == ends.end();
  RKV_REQUIRE(!ends.empty() && ends.front() > 0 && is_ascending && ends.back() == num_planes(),
              "layer_ends must ascend from above 0 to the number of planes, ", num_planes());
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
