#pragma once
// What one ticket needs while its copies are under way. Made at start and used again and again: submitting allocates nothing on the device.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cuda/copy_issuer.hpp"
#include "cuda/handles.hpp"
#include "cuda/pinned_arena.hpp"

namespace residentkv::cuda {

enum class CopyTicket : std::uint64_t {};  // grows, never used again

// The checksum of `num_bytes` bytes. Runs on a thread of the driver: it must not call CUDA, throw, or wait for anything.
using Checksum = std::uint32_t (*)(std::byte const* data, std::size_t num_bytes) noexcept;

// Thread safety: between submission and the end of the done event, checksums and slots are read by the driver's thread.
class Flight {
 public:
  // Both lists of PairLists for up to `max_pairs` pairs, `num_stages` stage events.  THROWS: OutOfDeviceMemory, PinnedHostError, CudaError.
  Flight(std::uint32_t num_stages, std::uint32_t max_pairs);

  // Fills both lists in page-locked memory.  REQUIRES: idle, pairs.size() <= max_pairs.
  void load(std::span<KernelPair const> pairs, std::uint32_t num_staging_blocks);
  // Enqueues their way to the device.  THROWS: CudaError.
  void upload(cudaStream_t stream) const;
  [[nodiscard]] PairLists lists() const noexcept;

  // cudaLaunchHostFunc callback over a Flight: takes the checksum of every pair's slot.
  static void take_checksums(void* flight) noexcept;

  // Set by the backend, per use.
  std::optional<CopyTicket> ticket;  // nullopt: idle
  Direction direction{};
  Geometry const* geometry = nullptr;
  Checksum checksum = nullptr;
  std::vector<std::uint32_t> expected;   // restore: per pair
  std::vector<std::uint32_t> checksums;  // per pair, in place when `done` is
  bool is_cancelled = false;
  std::string error;  // not empty: a CUDA call failed after submission
  std::uint32_t num_stages = 0;
  std::uint32_t num_stages_done = 0;

  std::vector<Event> stages;  // stage i has landed
  Event done;                 // all stages have landed and all checksums are taken

 private:
  std::uint32_t max_pairs_;
  std::size_t num_pairs_ = 0;
  std::size_t num_listed_ = 0;  // entries of both lists
  PinnedArena host_pairs_;      // [2][max_pairs] KernelPair
  DeviceBuffer device_pairs_;   // the same
};

}  // namespace residentkv::cuda
