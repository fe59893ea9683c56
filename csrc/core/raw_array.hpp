#pragma once
// A growable array of plain values whose memory is touched only where it is used: a pool of a million blocks is created in microseconds
// because the pages of its tail do not exist yet. Growing keeps contents (realloc, which moves page tables, not pages, for large sizes).
// Fill::kNone leaves new elements indeterminate: the owner keeps a high-water mark and never reads above it. Fill::kZero zeroes them.
// Elements start at a cache line, so records of 16, 32 or 64 bytes never lie across two.
// Thread safety: none.
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace residentkv {

enum class Fill : std::uint8_t { kNone, kZero };

template <typename T, Fill kFill = Fill::kNone>
class RawArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  RawArray() = default;
  explicit RawArray(std::size_t size) { grow(size); }
  ~RawArray() { std::free(memory_); }
  RawArray(RawArray&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        start_(other.start_),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  RawArray& operator=(RawArray&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(start_, other.start_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  RawArray(RawArray const&) = delete;
  RawArray& operator=(RawArray const&) = delete;

  // Makes the array at least `size` long.  THROWS: std::bad_alloc, array unchanged.
  void grow(std::size_t size) {
    if (size <= size_) return;
    std::size_t const num_bytes = size * sizeof(T) + kLine;
    bool const maps_zeros = kFill == Fill::kZero && memory_ == nullptr;  // calloc maps zero pages; memset would touch them
    void* const grown = maps_zeros ? std::calloc(1, num_bytes) : std::realloc(memory_, num_bytes);
    if (grown == nullptr) throw std::bad_alloc();
    auto const address = reinterpret_cast<std::uintptr_t>(grown);
    std::uintptr_t const start = (address + kLine - 1) / kLine * kLine - address;
    memory_ = grown;
    data_ = reinterpret_cast<T*>(static_cast<char*>(grown) + start);
    if (size_ > 0 && start != start_) {  // never for large sizes: those begin at a page, as before
      std::memmove(static_cast<void*>(data_), static_cast<char*>(grown) + start_, size_ * sizeof(T));
    }
    start_ = start;
    if constexpr (kFill == Fill::kZero) {
      if (!maps_zeros) std::memset(static_cast<void*>(data_ + size_), 0, (size - size_) * sizeof(T));
    }
    size_ = size;
  }

  // Asks for large pages: a pool of a million blocks is read at random, and would spend its time on address translation. A hint: where the
  // system has none, nothing changes.
  void advise_large_pages() noexcept {
    constexpr std::size_t kPage = 4096;
    constexpr std::size_t kWorthIt = std::size_t{4} << 20;  // two large pages of x86-64
    std::size_t const num_bytes = size_ * sizeof(T);
    std::size_t const skipped = (kPage - reinterpret_cast<std::uintptr_t>(data_) % kPage) % kPage;  // advice takes whole pages
    if (num_bytes < skipped + kWorthIt) return;
    static_cast<void>(::madvise(reinterpret_cast<std::byte*>(data_) + skipped, (num_bytes - skipped) / kPage * kPage, MADV_HUGEPAGE));
  }

  [[nodiscard]] T& operator[](std::size_t i) noexcept { return data_[i]; }
  [[nodiscard]] T const& operator[](std::size_t i) const noexcept { return data_[i]; }
  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] T const* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t kLine = 64;  // bytes
  static_assert(alignof(T) <= kLine);
  void* memory_ = nullptr;    // as the allocator gave it
  std::uintptr_t start_ = 0;  // bytes from there to the first element
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace residentkv
