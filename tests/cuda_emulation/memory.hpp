#pragma once
// Device memory and page-locked host memory, each in an arena of its own with a guard zone around every allocation.
//
// In fiber mode the device arena can be read and written by emulated device work only: a host that follows a device pointer faults,
// as it does with a real one. Fresh memory is filled with kFresh, so what nobody wrote is the same on every run and is not zero.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <mutex>

namespace cuda_emulation {

inline constexpr std::size_t kGuardBytes = 4096;
inline constexpr std::byte kGuard{0xFD};
inline constexpr std::byte kFresh{0xCD};
inline constexpr std::size_t kArenaBytes = std::size_t{256} << 20;

class Arena {
 public:
  Arena();
  ~Arena();
  Arena(Arena const&) = delete;
  Arena& operator=(Arena const&) = delete;

  // Aligned to 256 bytes; nullptr when the arena is full.
  [[nodiscard]] std::byte* allocate(std::size_t size);
  // False when `pointer` is not the start of an allocation. Aborts when its guard zones were written to.
  [[nodiscard]] bool release(void* pointer);
  // The bytes from `pointer` to the end of the allocation that holds it; 0 when none does.
  [[nodiscard]] std::size_t bytes_from(void const* pointer) const;
  [[nodiscard]] std::size_t num_allocations() const { return sizes_.size(); }
  void check_guards() const;
  void set_access(bool allowed);  // of everything in it

 private:
  void check_guards_of(std::size_t offset, std::size_t size) const;

  std::byte* base_;
  std::map<std::size_t, std::size_t> sizes_;  // offset of each allocation -> its size in bytes
};

struct Memory {
  Arena device;
  Arena host;
  std::map<std::byte const*, std::size_t> registered;  // host memory of others that is page-locked for now
  [[nodiscard]] std::size_t registered_bytes_from(void const* pointer) const;
  [[nodiscard]] cudaMemoryType type_of(void const* pointer) const;
  // True when all `count` bytes lie within one allocation.
  [[nodiscard]] bool holds(void const* pointer, std::size_t count) const;
};

Memory& memory();

// While one exists, the executing thread is the device. Fiber mode; in thread mode it does nothing.
class DeviceAccess {
 public:
  DeviceAccess();
  ~DeviceAccess();
  DeviceAccess(DeviceAccess const&) = delete;
  DeviceAccess& operator=(DeviceAccess const&) = delete;
};

}  // namespace cuda_emulation
