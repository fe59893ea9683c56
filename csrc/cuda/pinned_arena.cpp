#include "cuda/pinned_arena.hpp"

#include "core/check.hpp"

namespace residentkv::cuda {

namespace {
void require_pinned(char const* call, cudaError_t error, std::size_t num_bytes) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());
  if (error != cudaErrorMemoryAllocation) throw CudaError(call, error, nullptr);
  throw PinnedHostError("page-locked host memory could not be had: wanted=" + std::to_string(num_bytes) +
                        " bytes; take a smaller host tier, or free memory");
}
}  // namespace

PinnedArena::PinnedArena(std::size_t num_bytes) : num_bytes_(num_bytes) {
  RKV_REQUIRE(num_bytes > 0, "num_bytes=0: page-locked memory of no size");
  void* pointer = nullptr;
  require_pinned("cudaHostAlloc", cudaHostAlloc(&pointer, num_bytes, cudaHostAllocPortable | cudaHostAllocMapped), num_bytes);
  data_ = static_cast<std::byte*>(pointer);
}

PinnedArena::~PinnedArena() { static_cast<void>(cudaFreeHost(data_)); }

PinnedRange::PinnedRange(std::byte* data, std::size_t num_bytes) : data_(data) {
  require_pinned("cudaHostRegister", cudaHostRegister(data, num_bytes, cudaHostRegisterPortable | cudaHostRegisterMapped), num_bytes);
}

PinnedRange::~PinnedRange() { static_cast<void>(cudaHostUnregister(data_)); }

}  // namespace residentkv::cuda
