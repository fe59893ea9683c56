#pragma once
// The outside world failed: a device, a driver, the system's memory. State was rolled back; retrying or degrading is the caller's choice.
#include <cstddef>
#include <stdexcept>
#include <string>

namespace residentkv {

class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The device has no room for an allocation.
class OutOfDeviceMemory : public DeviceError {
 public:
  explicit OutOfDeviceMemory(std::size_t num_bytes)
      : DeviceError("out of device memory: wanted=" + std::to_string(num_bytes) + " bytes"), num_bytes_(num_bytes) {}
  [[nodiscard]] std::size_t num_bytes() const noexcept { return num_bytes_; }

 private:
  std::size_t num_bytes_;
};

// Page-locked host memory could not be had.
class PinnedHostError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

}  // namespace residentkv
