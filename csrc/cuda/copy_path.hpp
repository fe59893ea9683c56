#pragma once
// The ways bytes can take between device blocks and host slots.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace residentkv::cuda {

enum class CopyPath : std::uint8_t {
  kLoop,    // one cudaMemcpyAsync per run: works everywhere, costs the host microseconds per run
  kBatch,   // one cudaMemcpyBatchAsync: runtime and driver 12.8 or newer
  kKernel,  // a copy kernel that reads or writes page-locked memory over the bus: no cost per run, takes SMs
  kStaged,  // a copy kernel within device memory (relayout) and whole slots by a copy engine: short on the SMs, needs staging memory
};

inline constexpr std::array kCopyPaths{CopyPath::kLoop, CopyPath::kBatch, CopyPath::kKernel, CopyPath::kStaged};
inline constexpr std::array<std::string_view, kCopyPaths.size()> kCopyPathNames{"loop", "batch", "kernel", "staged"};

[[nodiscard]] constexpr std::size_t index_of(CopyPath path) noexcept { return static_cast<std::size_t>(path); }
[[nodiscard]] constexpr std::string_view name_of(CopyPath path) noexcept { return kCopyPathNames[index_of(path)]; }

// A subset of the paths.
class CopyPathSet {
 public:
  constexpr CopyPathSet() = default;
  [[nodiscard]] constexpr bool has(CopyPath path) const noexcept { return (bits_ >> index_of(path) & 1U) != 0; }
  constexpr void add(CopyPath path) noexcept { bits_ = static_cast<std::uint8_t>(bits_ | 1U << index_of(path)); }
  bool operator==(CopyPathSet const&) const = default;

 private:
  std::uint8_t bits_ = 0;
};

}  // namespace residentkv::cuda
