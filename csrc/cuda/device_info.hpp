#pragma once
// What device there is, and what the installed driver can do. Safe to ask on a machine without either.
#include <optional>
#include <string>

#include "cuda/copy_path.hpp"

namespace residentkv::cuda {

struct DeviceInfo {
  std::string name;
  int driver_version;   // 1000 * major + 10 * minor
  int runtime_version;  // of the runtime that is compiled in
  [[nodiscard]] bool has_batch_copies() const noexcept;
};

// The current device; nullopt without a driver, with one older than the runtime, or without a device.  THROWS: CudaError on any other
// failure.
[[nodiscard]] std::optional<DeviceInfo> find_device();

}  // namespace residentkv::cuda
