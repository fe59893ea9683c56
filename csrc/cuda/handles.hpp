#pragma once
// Streams, events and memory that give themselves back.
//
// Destructors call CUDA and ignore what it answers: by then either everything has been waited for, or the device is lost and there is
// nothing left to do. None of them throws.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "cuda/cuda_error.hpp"

namespace residentkv::cuda {

// A stream of our own that never synchronises with the legacy default stream.
class Stream {
 public:
  // REQUIRES: `priority` within cudaDeviceGetStreamPriorityRange.  THROWS: CudaError.
  explicit Stream(int priority) { RKV_CUDA(cudaStreamCreateWithPriority, nullptr, &handle_, cudaStreamNonBlocking, priority); }
  ~Stream() { static_cast<void>(cudaStreamDestroy(handle_)); }
  Stream(Stream const&) = delete;
  Stream& operator=(Stream const&) = delete;
  [[nodiscard]] cudaStream_t get() const noexcept { return handle_; }

 private:
  cudaStream_t handle_ = nullptr;
};

class Event {
 public:
  // `flags`: cudaEventDisableTiming for order alone, cudaEventDefault to measure.  THROWS: CudaError.
  explicit Event(unsigned int flags) { RKV_CUDA(cudaEventCreateWithFlags, nullptr, &handle_, flags); }
  ~Event() {
    if (handle_ != nullptr) static_cast<void>(cudaEventDestroy(handle_));
  }
  Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Event& operator=(Event&&) = delete;
  Event(Event const&) = delete;
  Event& operator=(Event const&) = delete;
  [[nodiscard]] cudaEvent_t get() const noexcept { return handle_; }

 private:
  cudaEvent_t handle_ = nullptr;
};

// `num_bytes` of device memory, uninitialised.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t num_bytes) {  // THROWS: OutOfDeviceMemory, CudaError
    void* pointer = nullptr;
    cudaError_t const error = cudaMalloc(&pointer, num_bytes);
    if (error == cudaErrorMemoryAllocation) {
      static_cast<void>(cudaGetLastError());
      throw OutOfDeviceMemory(num_bytes);
    }
    if (error != cudaSuccess) throw CudaError("cudaMalloc", error, nullptr);
    data_ = static_cast<std::byte*>(pointer);
  }
  ~DeviceBuffer() { static_cast<void>(cudaFree(data_)); }
  DeviceBuffer(DeviceBuffer const&) = delete;
  DeviceBuffer& operator=(DeviceBuffer const&) = delete;
  [[nodiscard]] std::byte* data() const noexcept { return data_; }

 private:
  std::byte* data_ = nullptr;
};

}  // namespace residentkv::cuda
