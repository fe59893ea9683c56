#include "tier/host_arena.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <new>
#include <system_error>

#include "core/check.hpp"

namespace residentkv {

HostArena::HostArena(std::size_t num_bytes) : num_bytes_(num_bytes) {
  RKV_REQUIRE(num_bytes > 0, "an arena needs bytes");
  void* const mapped = ::mmap(nullptr, num_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<std::byte*>(mapped);
  static_cast<void>(::madvise(mapped, num_bytes, MADV_HUGEPAGE));  // a hint; before the first touch, or it comes too late
  if (::mlock(mapped, num_bytes) != 0) {
    not_locked_ = std::system_category().message(errno) + "; raise the limit on locked memory (ulimit -l) above " +
                  std::to_string(num_bytes >> 10) + " KiB, or copies may wait for swapped pages";
  }
}

HostArena::~HostArena() { static_cast<void>(::munmap(data_, num_bytes_)); }

}  // namespace residentkv
