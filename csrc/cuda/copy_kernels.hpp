#pragma once
// Kernels that move KV blocks between the planes of device storage and block-first slots. Raw pointers only.
//
//   planes   [plane][block]: block b of plane p is the run [base + b * stride_bytes, + run_bytes) in device memory
//   slots    [slot]: slot s is [slots + s * slot_stride_bytes, + the sum of all run_bytes), the runs in plane order
//
// `slots` is page-locked host memory (the device reads or writes it over the bus) or a staging buffer in device memory (relayout: a copy
// engine then moves whole slots). The kernels do not care which.
//
// REQUIRES, of both: base, stride_bytes, run_bytes, slot_offset, slots and slot_stride_bytes are multiples of kVectorBytes; the pairs
// name each target once; no run overlaps a slot. Nothing but the named runs is written.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace residentkv::cuda {

inline constexpr std::size_t kVectorBytes = 16;
inline constexpr std::uint32_t kMaxKernelPlanes = 1024;  // 32 KiB of shared memory; 48 KiB need no opt-in

// One plane, as the kernels see it.
struct KernelPlane {
  std::byte* base;            // device memory
  std::int64_t stride_bytes;  // from one block to the next
  std::int64_t run_bytes;     // of one block in this plane
  std::int64_t slot_offset;   // where the run lies within a slot
};

struct KernelPair {
  std::uint32_t block;
  std::uint32_t slot;
};

struct KernelCopy {
  KernelPlane const* planes;  // [num_planes] readable by the device: the planes to copy, a layer's or all
  KernelPair const* pairs;    // [num_pairs] readable by the device
  std::byte* slots;           // readable and writable by the device
  std::int64_t slot_stride_bytes;
  std::int64_t max_run_bytes;  // of these planes
  std::uint32_t num_planes;    // 1 .. kMaxKernelPlanes
  std::uint32_t num_pairs;     // >= 1
};

// Enqueue on `stream` with `num_ctas` blocks of 256 threads. Few are enough to fill a bus, and leave the others to the model: about 12 on
// an H100 by public measurements (not ours). O(1) on the host.
cudaError_t gather_blocks(KernelCopy const& copy, std::uint32_t num_ctas, cudaStream_t stream);   // planes to slots
cudaError_t scatter_blocks(KernelCopy const& copy, std::uint32_t num_ctas, cudaStream_t stream);  // slots to planes

}  // namespace residentkv::cuda
