#pragma once
// The only arithmetic between tokens and blocks.
#include <cstdint>

namespace residentkv {

// Blocks that hold `num_tokens` tokens.  REQUIRES: block_size > 0.
[[nodiscard]] constexpr std::uint32_t blocks_for(std::uint64_t num_tokens, std::uint32_t block_size) noexcept {
  return static_cast<std::uint32_t>((num_tokens + block_size - 1) / block_size);
}

// Full blocks within `num_tokens` tokens.
[[nodiscard]] constexpr std::uint32_t full_blocks(std::uint64_t num_tokens, std::uint32_t block_size) noexcept {
  return static_cast<std::uint32_t>(num_tokens / block_size);
}

// Leading full blocks a request of `num_tokens` may reuse: at least one token is always computed, or there would be no logits.
[[nodiscard]] constexpr std::uint32_t reusable_blocks(std::uint64_t num_tokens, std::uint32_t block_size) noexcept {
  return num_tokens == 0 ? 0 : static_cast<std::uint32_t>((num_tokens - 1) / block_size);
}

}  // namespace residentkv
