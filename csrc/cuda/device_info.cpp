#include "cuda/device_info.hpp"

#include <algorithm>

#include "cuda/cuda_error.hpp"

namespace residentkv::cuda {

namespace {
constexpr int kBatchCopiesVersion = 12080;  // cudaMemcpyBatchAsync: CUDA 12.8
}

bool DeviceInfo::has_batch_copies() const noexcept {
  return CUDART_VERSION >= kBatchCopiesVersion && std::min(driver_version, runtime_version) >= kBatchCopiesVersion;
}

std::optional<DeviceInfo> find_device() {
  int count = 0;
  cudaError_t const error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver) {
    static_cast<void>(cudaGetLastError());
    return std::nullopt;
  }
  if (error != cudaSuccess) throw CudaError("cudaGetDeviceCount", error, nullptr);
  if (count == 0) return std::nullopt;
  DeviceInfo info{};
  int device = 0;
  cudaDeviceProp properties;
  RKV_CUDA(cudaGetDevice, nullptr, &device);
  call("cudaGetDeviceProperties", nullptr, [&] { return cudaGetDeviceProperties(&properties, device); });
  info.name = properties.name;
  RKV_CUDA(cudaDriverGetVersion, nullptr, &info.driver_version);
  RKV_CUDA(cudaRuntimeGetVersion, nullptr, &info.runtime_version);
  return info;
}

}  // namespace residentkv::cuda
