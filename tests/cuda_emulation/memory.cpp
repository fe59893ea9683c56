#include "memory.hpp"

#include <cuda_runtime.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) (static_cast<void>(address), static_cast<void>(size))
#endif

namespace cuda_emulation {

namespace {
constexpr std::size_t kAlignment = 256;

constexpr std::size_t padded(std::size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment + kGuardBytes; }
}  // namespace

Arena::Arena() {
  void* const mapped = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) refuse("the arena of emulated memory could not be mapped");
  base_ = static_cast<std::byte*>(mapped);
}

Arena::~Arena() { munmap(base_, kArenaBytes); }

std::byte* Arena::allocate(std::size_t size) {
  std::size_t offset = kGuardBytes;  // first fit
  for (auto const& [begin, taken] : sizes_) {
    if (offset + padded(size) <= begin) break;
    offset = begin + padded(taken);
  }
  if (size > kArenaBytes || offset + padded(size) > kArenaBytes) return nullptr;
  std::byte* const start = base_ + offset;
  std::byte* const end = base_ + offset + padded(size);
  ASAN_UNPOISON_MEMORY_REGION(start - kGuardBytes, static_cast<std::size_t>(end - start) + kGuardBytes);
  std::memset(start - kGuardBytes, static_cast<int>(kGuard), kGuardBytes);
  std::memset(start, static_cast<int>(kFresh), size);
  std::memset(start + size, static_cast<int>(kGuard), static_cast<std::size_t>(end - start) - size);
  ASAN_POISON_MEMORY_REGION(start - kGuardBytes, kGuardBytes);
  ASAN_POISON_MEMORY_REGION(start + size, static_cast<std::size_t>(end - start) - size);
  sizes_.emplace(offset, size);
  return start;
}

bool Arena::release(void* pointer) {
  auto const found = sizes_.find(static_cast<std::size_t>(static_cast<std::byte*>(pointer) - base_));
  if (found == sizes_.end()) return false;
  check_guards_of(found->first, found->second);
  ASAN_POISON_MEMORY_REGION(base_ + found->first, found->second);
  sizes_.erase(found);
  return true;
}

std::size_t Arena::bytes_from(void const* pointer) const {
  auto const address = reinterpret_cast<std::size_t>(pointer);
  auto const base = reinterpret_cast<std::size_t>(base_);
  if (address < base || address >= base + kArenaBytes) return 0;
  auto found = sizes_.upper_bound(address - base);
  if (found == sizes_.begin()) return 0;
  --found;
  std::size_t const end = found->first + found->second;
  return address - base < end ? end - (address - base) : 0;
}

void Arena::check_guards() const {
  for (auto const& [offset, size] : sizes_) check_guards_of(offset, size);
}

#if defined(__SANITIZE_ADDRESS__)
__attribute__((no_sanitize_address))
#endif
void Arena::check_guards_of(std::size_t offset, std::size_t size) const {
  for (std::size_t i = offset - kGuardBytes; i < offset; ++i) {
    if (base_[i] != kGuard) refuse("bytes before an allocation were overwritten");
  }
  for (std::size_t i = offset + size; i < offset + padded(size); ++i) {
    if (base_[i] != kGuard) refuse("bytes behind an allocation were overwritten");
  }
}

void Arena::set_access(bool allowed) {
  if (mprotect(base_, kArenaBytes, allowed ? PROT_READ | PROT_WRITE : PROT_NONE) != 0) refuse("mprotect failed");
}

cudaMemoryType Memory::type_of(void const* pointer) const {
  if (device.bytes_from(pointer) > 0) return cudaMemoryTypeDevice;
  return host.bytes_from(pointer) > 0 || registered_bytes_from(pointer) > 0 ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
}

bool Memory::holds(void const* pointer, std::size_t count) const {
  return std::max({device.bytes_from(pointer), host.bytes_from(pointer), registered_bytes_from(pointer)}) >= count;
}

std::size_t Memory::registered_bytes_from(void const* pointer) const {
  auto const* const address = static_cast<std::byte const*>(pointer);
  auto found = registered.upper_bound(address);
  if (found == registered.begin()) return 0;
  --found;
  std::byte const* const end = found->first + found->second;
  return address < end ? static_cast<std::size_t>(end - address) : 0;
}

Memory& memory() {
  static Memory all;
#ifndef CUDA_EMULATION_THREADS
  static bool const hidden = (all.device.set_access(false), true);
  static_cast<void>(hidden);
#endif
  return all;
}

#ifdef CUDA_EMULATION_THREADS
DeviceAccess::DeviceAccess() {}
DeviceAccess::~DeviceAccess() {}
#else
DeviceAccess::DeviceAccess() { memory().device.set_access(true); }
DeviceAccess::~DeviceAccess() { memory().device.set_access(false); }
#endif

}  // namespace cuda_emulation
