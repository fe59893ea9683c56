#include "cuda/pinned_arena.hpp"

#include "core/check.hpp"

namespace residentkv::cuda {

PinnedArena::PinnedArena(std::size_t num_bytes) : num_bytes_(num_bytes) {
  RKV_REQUIRE(num_bytes > 0, "num_bytes=0: page-locked memory of no size");
  void* pointer = nullptr;
  cudaError_t const error = cudaHostAlloc(&pointer, num_bytes, cudaHostAllocPortable | cudaHostAllocMapped);
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    throw PinnedHostError("page-locked host memory could not be had: wanted=" + std::to_string(num_bytes) +
                          " bytes; take a smaller host tier, or free memory");
  }
  if (error != cudaSuccess) throw CudaError("cudaHostAlloc", error, nullptr);
  data_ = static_cast<std::byte*>(pointer);
}

PinnedArena::~PinnedArena() { static_cast<void>(cudaFreeHost(data_)); }

}  // namespace residentkv::cuda
