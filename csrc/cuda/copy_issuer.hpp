#pragma once
// Enqueues copies between blocks and slots on a stream, by one path or another. Decides nothing and waits for nothing.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <span>

#include "cuda/copy_path.hpp"
#include "cuda/geometry.hpp"
#include "cuda/handles.hpp"
#include "device/copy_job.hpp"

namespace residentkv::cuda {

// Pairs of one submission, in the memory of both sides. Alive and unchanged until the work that was enqueued with them has ended.
struct PairLists {
  std::span<KernelPair const> pairs;      // (block, slot)
  KernelPair const* device_pairs;         // the same list, in device memory by the time the stream gets there
  KernelPair const* device_staged_pairs;  // (block, place in the staging buffer): place i % num_staging_blocks for pair i
};

// Thread safety: one thread at a time. All work with the staging buffer is ordered by the stream it was issued to, so an issuer serves one
// stream.
class CopyIssuer {
 public:
  struct Options {
    std::uint32_t num_ctas;            // of the copy kernels
    std::uint32_t num_staging_blocks;  // device memory for the staged path, in blocks; 0: no staged path
    bool has_batch_copies;             // see DeviceInfo
  };
  // Copies the table of planes to the device, on `stream`, and waits for it.  THROWS: OutOfDeviceMemory, PinnedHostError, CudaError.
  CopyIssuer(Geometry const& geometry, Options options, cudaStream_t stream);  // `geometry` outlives it

  [[nodiscard]] CopyPathSet usable() const noexcept { return usable_; }
  [[nodiscard]] Options const& options() const noexcept { return options_; }

  // Enqueues the runs of `planes` of every pair.  REQUIRES: usable().has(path), at least one pair, no target twice.
  // THROWS: CudaError; some of the work may then be enqueued already.  Host time: kLoop and kBatch O(runs), kKernel O(1), kStaged
  // O(pairs / num_staging_blocks) calls.
  void issue(CopyPath path, Direction direction, PlaneRange planes, PairLists const& lists, cudaStream_t stream) const;

 private:
  [[nodiscard]] std::vector<Run> runs(PlaneRange planes, std::span<KernelPair const> pairs) const;
  [[nodiscard]] KernelCopy kernel_copy(PlaneRange planes) const;
  void issue_runs(CopyPath path, Direction direction, std::vector<Run> const& runs, cudaStream_t stream) const;
  void issue_staged(Direction direction, PlaneRange planes, PairLists const& lists, cudaStream_t stream) const;

  Geometry const& geometry_;
  Options options_;
  CopyPathSet usable_;
  std::byte* device_slots_ = nullptr;          // the slots' address as the device knows it
  std::unique_ptr<DeviceBuffer> plane_table_;  // [num_planes] KernelPlane
  std::unique_ptr<DeviceBuffer> staging_;      // [num_staging_blocks] slots
};

}  // namespace residentkv::cuda
