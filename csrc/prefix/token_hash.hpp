#pragma once
// Chained hash of token blocks. It only finds candidates: equality is always decided by comparing tokens (prefix_index.hpp), so a collision
// costs time and never correctness. Keys are drawn from a seed that is random per process: nobody can aim at buckets, and no decision
// depends on it.
//
// Sources. A block: NH, the universal hash of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, CRYPTO 1999, section 4): for any two
// different blocks the keys make them collide with probability at most 2^-32; it vectorises, and the blocks of a chain do not wait for one
// another. Along the chain: the folded 64x64 -> 128 bit multiply of wyhash (Wang Yi, public domain). Keys: splitmix64 (Steele, Lea, Flood,
// OOPSLA 2014).
#include <cstdint>
#include <vector>

#include "core/ids.hpp"

namespace residentkv {

class TokenHash {
 public:
  TokenHash(std::uint64_t seed, std::uint32_t block_size) : keys_(block_size + block_size % 2), block_size_(block_size) {
    for (std::uint32_t& key : keys_) key = static_cast<std::uint32_t>(split_mix(seed) >> 32);
    chain_key_ = split_mix(seed);
    content_key_ = split_mix(seed);
    extra_key_ = split_mix(seed) | 1;
  }

  [[nodiscard]] std::uint64_t root(RootId root) const noexcept { return mix(chain_key_ ^ index_of(root), content_key_ ^ extra_key_); }

  // Hash of the chain that `parent` names, extended by one block.  tokens: [block_size] int32.
  [[nodiscard]] std::uint64_t next(std::uint64_t parent, std::int32_t const* tokens, ExtraId extra) const noexcept {
    std::uint32_t const half = block_size_ / 2;
    std::uint32_t const* const keys = keys_.data();
    std::uint64_t content = index_of(extra) * extra_key_;
    for (std::uint32_t i = 0; i < half; ++i) {
      std::uint32_t const a = static_cast<std::uint32_t>(tokens[i]) + keys[i];
      std::uint32_t const b = static_cast<std::uint32_t>(tokens[half + i]) + keys[half + i];
      content += std::uint64_t{a} * b;
    }
    if (block_size_ % 2 != 0) {
      content += std::uint64_t{static_cast<std::uint32_t>(tokens[block_size_ - 1]) + keys[block_size_ - 1]} * keys[block_size_];
    }
    return mix(parent ^ chain_key_, content ^ content_key_);
  }

 private:
  static std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
    __extension__ using uint128 = unsigned __int128;
    uint128 const product = static_cast<uint128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  static std::uint64_t split_mix(std::uint64_t& state) noexcept {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }

  std::vector<std::uint32_t> keys_;  // one per token position, and one more for an odd block size
  std::uint64_t chain_key_;
  std::uint64_t content_key_;
  std::uint64_t extra_key_;
  std::uint32_t block_size_;
};

}  // namespace residentkv
