#pragma once
// The part of CUDA C++ that residentkv's kernels use, for a plain C++20 compiler. A kernel is a function; launching it enqueues a
// call of it per CUDA thread. See ../README.md for what is modelled.
#include <functional>
#include <type_traits>
#include <utility>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#ifdef CUDA_EMULATION_THREADS
#define __shared__ static  // thread mode: blocks run one after another, their threads at once
#else
#define __shared__ static thread_local
#endif
// The one spelling that differs from CUDA: `extern __shared__ T name[]` can not be expressed in C++.
#define CUDA_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::cuda_emulation::dynamic_shared())

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
  unsigned int x, y, z;
};
struct alignas(16) int4 {
  int x, y, z, w;
};

// Variables, not macros: cudaLaunchConfig_t has members of these names.
extern thread_local uint3 threadIdx;
extern thread_local uint3 blockIdx;
extern thread_local dim3 blockDim;
extern thread_local dim3 gridDim;
inline constexpr int warpSize = 32;

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim;
  dim3 blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned int numAttrs;
};

namespace cuda_emulation {
void* dynamic_shared();
// The value that lane `source` of this warp contributes. All 32 lanes of a full warp must call it together.
unsigned long long exchange(unsigned int mask, unsigned long long value, unsigned int source);
cudaError_t launch(cudaLaunchConfig_t const& config, std::function<void()> thread);
[[noreturn]] void refuse(char const* what);
extern thread_local unsigned long long num_bytes_stored;  // what the emulated clock charges a kernel for
}  // namespace cuda_emulation

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(cudaLaunchConfig_t const* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  return ::cuda_emulation::launch(*config, [kernel, ... values = static_cast<Parameters>(arguments)] { kernel(values...); });
}

void __syncthreads();

template <typename T>
T __shfl_sync(unsigned int mask, T value, int source) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof(T));
  bits = ::cuda_emulation::exchange(mask, bits, static_cast<unsigned int>(source) % 32);
  __builtin_memcpy(&value, &bits, sizeof(T));
  return value;
}
template <typename T>
T __shfl_xor_sync(unsigned int mask, T value, int lane_mask) {
  return __shfl_sync(mask, value, static_cast<int>(threadIdx.x % 32) ^ lane_mask);
}
template <typename T>
T __shfl_down_sync(unsigned int mask, T value, unsigned int delta) {
  unsigned int const lane = threadIdx.x % 32;
  return __shfl_sync(mask, value, static_cast<int>(lane + delta < 32 ? lane + delta : lane));
}
inline void __syncwarp(unsigned int mask = 0xffffffffU) { ::cuda_emulation::exchange(mask, 0, 0); }

template <typename T>
T atomicAdd(T* address, T value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <typename T>
T atomicExch(T* address, T value) {
  return __atomic_exchange_n(address, value, __ATOMIC_RELAXED);
}
template <typename T>
T atomicCAS(T* address, T expected, T value) {
  __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <typename T>
T atomicMax(T* address, T value) {
  T seen = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (seen < value && !__atomic_compare_exchange_n(address, &seen, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return seen;
}

// Cache hints change no value. What the hardware would fault on is refused: an address that is not aligned to the access.
template <typename T>
T __ldcs(T const* address) {
  if (reinterpret_cast<std::size_t>(address) % sizeof(T) != 0) ::cuda_emulation::refuse("__ldcs from a misaligned address");
  return *address;
}
template <typename T>
void __stcs(T* address, T value) {
  if (reinterpret_cast<std::size_t>(address) % sizeof(T) != 0) ::cuda_emulation::refuse("__stcs to a misaligned address");
  ::cuda_emulation::num_bytes_stored += sizeof(T);
  *address = value;
}
