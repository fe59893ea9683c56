#include "device/checksum.hpp"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace residentkv {

namespace {

using Lanes = std::array<std::uint32_t, 4>;

constexpr std::uint32_t kReversedPolynomial = 0x82F63B78;  // of CRC32C
constexpr std::size_t kWord = sizeof(std::uint64_t);
constexpr std::size_t kLine = 64;
// Below this, what is copied is likely to be read while it is still in a cache. Measured here: from 4 KiB on, streaming stores win.
constexpr std::size_t kWorthStreaming = 4096;

constexpr std::array<std::uint32_t, 256> kTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? kReversedPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}();

std::uint64_t load_word(std::byte const* data) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, data, kWord);
  return word;
}

// How words are fed, and how a line of 64 bytes is copied. `kFeed` is what differs between machines.
struct InSoftware {
  static std::uint32_t feed(std::uint32_t crc, std::uint64_t word) noexcept { return crc32c_word_in_software(crc, word); }
  static void copy_line(std::byte* target, std::byte const* source) noexcept { std::memcpy(target, source, kLine); }
  static void finish() noexcept {}
};

template <typename Machine>
[[gnu::always_inline]] inline void feed_tail(Lanes& lanes, std::byte const* data, std::size_t begin, std::size_t num_bytes) noexcept {
  std::size_t lane = 0;  // lines hold eight words, so a tail begins at lane 0
  for (; begin + kWord <= num_bytes; begin += kWord, lane = (lane + 1) % 4)
    lanes[lane] = Machine::feed(lanes[lane], load_word(data + begin));
  if (begin == num_bytes) return;
  std::uint64_t word = 0;
  std::memcpy(&word, data + begin, num_bytes - begin);
  lanes[lane] = Machine::feed(lanes[lane], word);
}

template <typename Machine, bool kCopies>
[[gnu::always_inline]] inline void run(Lanes& lanes, std::byte* target, std::byte const* source, std::size_t num_bytes) noexcept {
  Lanes local = lanes;  // in registers
  local[0] = Machine::feed(local[0], num_bytes);
  std::size_t i = 0;
  for (; i + kLine <= num_bytes; i += kLine) {
    if constexpr (kCopies) Machine::copy_line(target + i, source + i);
    for (std::size_t word = 0; word < kLine / kWord; ++word) {
      local[word % 4] = Machine::feed(local[word % 4], load_word(source + i + word * kWord));
    }
  }
  if constexpr (kCopies) {
    if (i < num_bytes) std::memcpy(target + i, source + i, num_bytes - i);
    Machine::finish();
  }
  feed_tail<Machine>(local, source, i, num_bytes);
  lanes = local;
}

#if defined(__x86_64__)

struct OnX86 {
  [[gnu::always_inline, gnu::target("sse4.2,avx2")]] static std::uint32_t feed(std::uint32_t crc, std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(_mm_crc32_u64(crc, word));
  }
};

[[gnu::target("sse4.2,avx2")]] void add_on_x86(Lanes& lanes, std::byte const* data, std::size_t num_bytes) noexcept {
  std::uint64_t a = OnX86::feed(lanes[0], num_bytes);
  std::uint64_t b = lanes[1];
  std::uint64_t c = lanes[2];
  std::uint64_t d = lanes[3];
  std::size_t i = 0;
  for (; i + kLine <= num_bytes; i += kLine) {
    std::byte const* line = data + i;
    a = _mm_crc32_u64(_mm_crc32_u64(a, load_word(line)), load_word(line + 32));
    b = _mm_crc32_u64(_mm_crc32_u64(b, load_word(line + 8)), load_word(line + 40));
    c = _mm_crc32_u64(_mm_crc32_u64(c, load_word(line + 16)), load_word(line + 48));
    d = _mm_crc32_u64(_mm_crc32_u64(d, load_word(line + 24)), load_word(line + 56));
  }
  lanes = {static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(d)};
  feed_tail<InSoftware>(lanes, data, i, num_bytes);
}

// REQUIRES: target aligned to 32 bytes when `streams`.
template <bool kStreams>
[[gnu::target("sse4.2,avx2")]] void add_copied_on_x86(Lanes& lanes, std::byte* target, std::byte const* source,
                                                      std::size_t num_bytes) noexcept {
  std::uint64_t a = OnX86::feed(lanes[0], num_bytes);
  std::uint64_t b = lanes[1];
  std::uint64_t c = lanes[2];
  std::uint64_t d = lanes[3];
  std::size_t i = 0;
  for (; i + kLine <= num_bytes; i += kLine) {
    std::byte const* line = source + i;
    __m256i const low = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(line));
    __m256i const high = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(line + 32));
    auto* const out = reinterpret_cast<__m256i*>(target + i);
    if constexpr (kStreams) {
      _mm256_stream_si256(out, low);
      _mm256_stream_si256(out + 1, high);
    } else {
      _mm256_storeu_si256(out, low);
      _mm256_storeu_si256(out + 1, high);
    }
    a = _mm_crc32_u64(_mm_crc32_u64(a, load_word(line)), load_word(line + 32));
    b = _mm_crc32_u64(_mm_crc32_u64(b, load_word(line + 8)), load_word(line + 40));
    c = _mm_crc32_u64(_mm_crc32_u64(c, load_word(line + 16)), load_word(line + 48));
    d = _mm_crc32_u64(_mm_crc32_u64(d, load_word(line + 24)), load_word(line + 56));
  }
  if constexpr (kStreams) _mm_sfence();  // streaming stores are weakly ordered: whoever is told of the copy must see it
  if (i < num_bytes) std::memcpy(target + i, source + i, num_bytes - i);
  lanes = {static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(d)};
  feed_tail<InSoftware>(lanes, source, i, num_bytes);
}

[[gnu::target("avx2")]] void stream_on_x86(std::byte* target, std::byte const* source, std::size_t num_bytes) noexcept {
  std::size_t i = 0;
  for (; i + kLine <= num_bytes; i += kLine) {
    __m256i const low = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(source + i));
    __m256i const high = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(source + i + 32));
    auto* const out = reinterpret_cast<__m256i*>(target + i);
    _mm256_stream_si256(out, low);
    _mm256_stream_si256(out + 1, high);
  }
  _mm_sfence();
  if (i < num_bytes) std::memcpy(target + i, source + i, num_bytes - i);
}

bool has_x86_instructions() noexcept {
  static bool const has = __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("avx2") != 0;
  return has;
}

bool is_aligned(void const* pointer) noexcept { return reinterpret_cast<std::uintptr_t>(pointer) % 32 == 0; }

#endif

}  // namespace

std::uint32_t crc32c_word_in_software(std::uint32_t crc, std::uint64_t word) noexcept {
  for (std::size_t byte = 0; byte < kWord; ++byte, word >>= 8) crc = (crc >> 8) ^ kTable[(crc ^ word) & 0xFFU];
  return crc;
}

void Checksum::add(std::byte const* data, std::size_t num_bytes) noexcept {
#if defined(__x86_64__)
  if (has_x86_instructions()) return add_on_x86(lanes_, data, num_bytes);
#endif
  run<InSoftware, false>(lanes_, nullptr, data, num_bytes);
}

void Checksum::add_copied(std::byte* target, std::byte const* source, std::size_t num_bytes) noexcept {
#if defined(__x86_64__)
  if (has_x86_instructions()) {
    if (num_bytes >= kWorthStreaming && is_aligned(target)) return add_copied_on_x86<true>(lanes_, target, source, num_bytes);
    return add_copied_on_x86<false>(lanes_, target, source, num_bytes);
  }
#endif
  run<InSoftware, true>(lanes_, target, source, num_bytes);
}

std::uint64_t Checksum::value() const noexcept {
  auto const pair = [this](std::size_t low, std::size_t high) { return lanes_[low] | std::uint64_t{lanes_[high]} << 32; };
  std::uint32_t const first = crc32c_word_in_software(crc32c_word_in_software(0, pair(0, 1)), pair(2, 3));
  std::uint32_t const second = crc32c_word_in_software(crc32c_word_in_software(UINT32_MAX, pair(2, 0)), pair(3, 1));
  return first | std::uint64_t{second} << 32;
}

void copy_past_caches(std::byte* target, std::byte const* source, std::size_t num_bytes) noexcept {
#if defined(__x86_64__)
  if (num_bytes >= kWorthStreaming && has_x86_instructions() && is_aligned(target)) return stream_on_x86(target, source, num_bytes);
#endif
  std::memcpy(target, source, num_bytes);
}

}  // namespace residentkv
