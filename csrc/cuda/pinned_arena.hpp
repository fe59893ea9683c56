#pragma once
// One run of page-locked host memory, made at start: a device reads and writes it without a copy in between, from every stream.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <span>

#include "cuda/cuda_error.hpp"

namespace residentkv::cuda {

// Thread safety: immutable after construction; the bytes are the user's to order.
class PinnedArena {
 public:
  // Portable (usable from every context) and mapped (kernels may address it). Takes seconds per 100 GiB: the system locks every page.
  // REQUIRES: num_bytes > 0.  THROWS: PinnedHostError when the system has no more memory that it lets a process lock; CudaError.
  explicit PinnedArena(std::size_t num_bytes);
  ~PinnedArena();
  PinnedArena(PinnedArena const&) = delete;
  PinnedArena& operator=(PinnedArena const&) = delete;

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return num_bytes_; }  // bytes
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data_, num_bytes_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t num_bytes_;
};

// Page-locks memory that somebody else owns, for as long as it lives.
class PinnedRange {
 public:
  // REQUIRES: num_bytes > 0, memory that is not page-locked yet.  THROWS: PinnedHostError when the system refuses; CudaError.
  PinnedRange(std::byte* data, std::size_t num_bytes);
  ~PinnedRange();
  PinnedRange(PinnedRange const&) = delete;
  PinnedRange& operator=(PinnedRange const&) = delete;

 private:
  std::byte* data_;
};

}  // namespace residentkv::cuda
