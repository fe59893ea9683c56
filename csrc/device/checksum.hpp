#pragma once
// The checksum of a layer of a block: taken when it leaves the device, compared when it comes back.
//
// Four interleaved CRC32C lanes over 8-byte words (word i goes to lane i mod 4; the last word is padded with zeros), seeded with the number
// of bytes of each run, folded to 64 bits. Four lanes, because the instruction has a latency of three cycles and a throughput of one: a
// single chain would be slower than memory. Runs are fed in order, so exchanging two of them (keys and values) changes the result.
//
// CRC32C: RFC 3720 appendix B.4, polynomial 0x1EDC6F41. The value does not depend on the machine: without SSE4.2 a table gives the same.
#include <array>
#include <cstddef>
#include <cstdint>

namespace residentkv {

class Checksum {
 public:
  // Feeds one run.  O(bytes).
  void add(std::byte const* data, std::size_t num_bytes) noexcept;
  // Copies one run to `target` and feeds it, reading each byte once. REQUIRES: no overlap. O(bytes).
  void add_copied(std::byte* target, std::byte const* source, std::size_t num_bytes) noexcept;

  [[nodiscard]] std::uint64_t value() const noexcept;

 private:
  std::array<std::uint32_t, 4> lanes_{0, 1, 2, 3};
};

// memcpy for copies that nobody reads soon: large runs go past the caches. REQUIRES: no overlap.
void copy_past_caches(std::byte* target, std::byte const* source, std::size_t num_bytes) noexcept;

// What a machine without SSE4.2 computes, for the test that compares the two.
[[nodiscard]] std::uint32_t crc32c_word_in_software(std::uint32_t crc, std::uint64_t word) noexcept;

}  // namespace residentkv
