#pragma once
// One stretch of host memory for all slots of a tier, made at start: large pages where the system gives them, locked so that no copy waits
// for a page to come back from swap.
//
// Thread safety: immutable after construction.
#include <cstddef>
#include <string>

namespace residentkv {

class HostArena {
 public:
  // Maps `num_bytes` of zeros. REQUIRES: num_bytes > 0.  THROWS: std::bad_alloc when the system has no such room.
  explicit HostArena(std::size_t num_bytes);
  HostArena(HostArena const&) = delete;
  HostArena& operator=(HostArena const&) = delete;
  ~HostArena();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t num_bytes() const noexcept { return num_bytes_; }
  // Empty when the memory is locked; else why not, and what to do about it.
  [[nodiscard]] std::string const& not_locked() const noexcept { return not_locked_; }

 private:
  std::byte* data_;
  std::size_t num_bytes_;
  std::string not_locked_;
};

}  // namespace residentkv
