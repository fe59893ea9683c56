// Compiled by nvcc for devices, and by a plain C++ compiler against tests/cuda_emulation.
#include "cuda/copy_kernels.hpp"

#include <cuda_runtime.h>

#include <algorithm>

#ifdef __CUDACC__
#define CUDA_DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#define RKV_UNROLL _Pragma("unroll")
#else
#define RKV_UNROLL
#endif

namespace residentkv::cuda {

namespace {

constexpr unsigned int kThreads = 256;
constexpr unsigned int kLanes = 32;
constexpr unsigned int kVectorsPerLane = 8;  // loads in flight per lane: a bus answers after microseconds
constexpr std::int64_t kPieceVectors = kLanes * kVectorsPerLane;
constexpr std::int64_t kPieceBytes = kPieceVectors * static_cast<std::int64_t>(kVectorBytes);
static_assert(sizeof(int4) == kVectorBytes);

// One warp copies up to kPieceBytes. Streaming hints: neither side is read again soon, the model's working set should keep its cache.
__device__ __forceinline__ void copy_piece(int4* target, int4 const* source, std::int64_t num_vectors) {
  auto const lane = static_cast<std::int64_t>(threadIdx.x % kLanes);
  if (num_vectors >= kPieceVectors) {
    int4 values[kVectorsPerLane];
    RKV_UNROLL
    for (unsigned int i = 0; i < kVectorsPerLane; ++i) values[i] = __ldcs(source + lane + i * kLanes);
    RKV_UNROLL
    for (unsigned int i = 0; i < kVectorsPerLane; ++i) __stcs(target + lane + i * kLanes, values[i]);
  } else {
    for (std::int64_t i = lane; i < num_vectors; i += kLanes) __stcs(target + i, __ldcs(source + i));
  }
}

enum class To { kSlots, kPlanes };

// Work is cut into pieces of a run; warps take them in turn: pieces of a run, runs of a slot, slots. So neighbours write one slot's
// neighbouring bytes, and one long run keeps all warps busy.
template <To to>
__device__ __forceinline__ void copy_runs(KernelCopy const& copy) {
  CUDA_DYNAMIC_SHARED(KernelPlane, planes);
  for (unsigned int i = threadIdx.x; i < copy.num_planes; i += blockDim.x) planes[i] = copy.planes[i];
#ifndef RKV_PLANT_NO_SYNCTHREADS
  __syncthreads();
#endif
  auto const pieces_per_run = static_cast<std::uint32_t>((copy.max_run_bytes + kPieceBytes - 1) / kPieceBytes);
  std::uint32_t const num_units = copy.num_pairs * copy.num_planes * pieces_per_run;
  std::uint32_t const num_warps = gridDim.x * (kThreads / kLanes);
  for (std::uint32_t unit = blockIdx.x * (kThreads / kLanes) + threadIdx.x / kLanes; unit < num_units; unit += num_warps) {
    std::uint32_t const run = unit / pieces_per_run;
    std::int64_t const offset = static_cast<std::int64_t>(unit % pieces_per_run) * kPieceBytes;
    KernelPlane const plane = planes[run % copy.num_planes];
    KernelPair const pair = copy.pairs[run / copy.num_planes];
#ifdef RKV_PLANT_OVERRUN
    std::int64_t const num_left = plane.run_bytes - offset + static_cast<std::int64_t>(kVectorBytes);
#else
    std::int64_t const num_left = plane.run_bytes - offset;
#endif
    if (num_left <= 0) continue;
    std::byte* const in_plane = plane.base + static_cast<std::int64_t>(pair.block) * plane.stride_bytes + offset;
    std::byte* const in_slot = copy.slots + static_cast<std::int64_t>(pair.slot) * copy.slot_stride_bytes + plane.slot_offset + offset;
    auto* const target = reinterpret_cast<int4*>(to == To::kSlots ? in_slot : in_plane);
    auto const* const source = reinterpret_cast<int4 const*>(to == To::kSlots ? in_plane : in_slot);
    copy_piece(target, source, num_left / static_cast<std::int64_t>(kVectorBytes));
  }
}

__global__ void __launch_bounds__(kThreads) gather_blocks_kernel(KernelCopy copy) { copy_runs<To::kSlots>(copy); }
__global__ void __launch_bounds__(kThreads) scatter_blocks_kernel(KernelCopy copy) { copy_runs<To::kPlanes>(copy); }

cudaError_t launch(void (*kernel)(KernelCopy), KernelCopy const& copy, std::uint32_t num_ctas, cudaStream_t stream) {
  std::int64_t const pieces_per_run = (copy.max_run_bytes + kPieceBytes - 1) / kPieceBytes;
  std::int64_t const num_units = pieces_per_run * copy.num_planes * copy.num_pairs;
  // Behind this the unit numbers of a warp's last turn would not fit 32 bits: 8 TiB in one launch.
  if (copy.num_planes == 0 || copy.num_planes > kMaxKernelPlanes || num_units <= 0 || num_units > INT32_MAX) return cudaErrorInvalidValue;
  std::int64_t const needed = (num_units + kThreads / kLanes - 1) / (kThreads / kLanes);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned int>(std::min<std::int64_t>(needed, std::max(num_ctas, 1U))));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = copy.num_planes * sizeof(KernelPlane);
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, copy);
}

}  // namespace

cudaError_t gather_blocks(KernelCopy const& copy, std::uint32_t num_ctas, cudaStream_t stream) {
  return launch(&gather_blocks_kernel, copy, num_ctas, stream);
}

cudaError_t scatter_blocks(KernelCopy const& copy, std::uint32_t num_ctas, cudaStream_t stream) {
  return launch(&scatter_blocks_kernel, copy, num_ctas, stream);
}

}  // namespace residentkv::cuda
