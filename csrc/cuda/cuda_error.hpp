#pragma once
// Failures of CUDA calls, by what a caller can do about them.
#include <cuda_runtime_api.h>

#include <cstdint>
#include <sstream>
#include <string>

#include "core/device_error.hpp"

namespace residentkv::cuda {

// A CUDA call failed. Python: residentkv.contract.errors.CudaError.
class CudaError : public DeviceError {
 public:
  CudaError(char const* call, cudaError_t code, cudaStream_t stream)
      : DeviceError(text(call, code, stream)), call_(call), code_(code), stream_(stream) {}

  [[nodiscard]] char const* call() const noexcept { return call_; }
  [[nodiscard]] cudaError_t code() const noexcept { return code_; }
  [[nodiscard]] std::uint64_t stream() const noexcept { return reinterpret_cast<std::uint64_t>(stream_); }

 private:
  static std::string text(char const* call, cudaError_t code, cudaStream_t stream) {
    std::ostringstream out;
    out << call << " failed: code=" << static_cast<int>(code) << " (" << cudaGetErrorName(code) << ") stream=" << stream;
    return out.str();
  }
  char const* call_;  // a literal
  cudaError_t code_;
  cudaStream_t stream_;
};

// Calls `function(arguments...)` and throws CudaError unless it succeeds. `stream` is the one it was issued to, or nullptr.
template <typename Function, typename... Arguments>
void call(char const* name, cudaStream_t stream, Function function, Arguments... arguments) {
  cudaError_t const code = function(arguments...);
  if (code == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // reported here: the next caller's own check must not find it
  throw CudaError(name, code, stream);
}

}  // namespace residentkv::cuda

// RKV_CUDA(cudaEventRecord, stream, event, stream): the name goes into the message.
#define RKV_CUDA(function, stream, ...) ::residentkv::cuda::call(#function, stream, function __VA_OPT__(, ) __VA_ARGS__)
