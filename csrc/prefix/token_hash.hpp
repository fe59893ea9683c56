#pragma once
// Chained hash of token blocks. It only finds candidates: equality is always decided by comparing tokens (prefix_index.hpp), so a collision
// costs time and never correctness. The seed is random per process, so nobody can aim at buckets, and it changes no decision.
//
// Source of the mixing step: the folded 64x64 -> 128 bit multiply of wyhash (Wang Yi, public domain, github.com/wangyi-fudan/wyhash).
#include <cstdint>
#include <cstring>

#include "core/ids.hpp"

namespace residentkv {

class TokenHash {
 public:
  TokenHash(std::uint64_t seed, std::uint32_t block_size) noexcept
      : seed_(mix(seed ^ 0xa0761d6478bd642fULL, 0xe7037ed1a0b428dbULL)), block_size_(block_size) {}

  [[nodiscard]] std::uint64_t root(RootId root) const noexcept { return mix(seed_ ^ index_of(root), 0x8ebc6af09c88c6e3ULL); }

  // Hash of the chain that `parent` names, extended by one block.  tokens: [block_size] int32.
  [[nodiscard]] std::uint64_t next(std::uint64_t parent, std::int32_t const* tokens, ExtraId extra) const noexcept {
    std::uint64_t hash = parent ^ seed_ ^ (std::uint64_t{index_of(extra)} << 17);
    std::uint32_t i = 0;
    for (; i + 4 <= block_size_; i += 4) {
      std::uint64_t low = 0;
      std::uint64_t high = 0;
      std::memcpy(&low, tokens + i, sizeof(low));
      std::memcpy(&high, tokens + i + 2, sizeof(high));
      hash = mix(low ^ 0x589965cc75374cc3ULL ^ seed_, high ^ hash);
    }
    for (; i < block_size_; ++i) hash = mix(static_cast<std::uint32_t>(tokens[i]) ^ 0x1d8e4e27c47d124fULL, hash ^ seed_);
    return hash;
  }

 private:
  static std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
    __extension__ using uint128 = unsigned __int128;
    uint128 const product = static_cast<uint128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }

  std::uint64_t seed_;
  std::uint32_t block_size_;
};

}  // namespace residentkv
