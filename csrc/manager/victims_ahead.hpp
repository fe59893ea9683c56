#pragma once
// Brings into the cache what a run of takes will evict. Each eviction touches a node, and through it another node or the head of a chain:
// two waits for memory, one after the other, which are most of what an eviction costs in a large pool. Looking ahead, the waits of many
// evictions overlap with one another and with work.
//
// Three groups of victims are on their way at any time: one is being evicted, of the next the links are fetched, of the one after that the
// nodes. Only hints: takes need not follow the order that was seen here, and nothing is wrong if they do not.
// Complexity: O(1) a take. Thread safety: none.
#include <algorithm>
#include <array>
#include <cstdint>

#include "manager/block_ledger.hpp"

namespace residentkv {

class VictimsAhead {
 public:
  // Of the next `num_takes` takes.
  VictimsAhead(BlockLedger const& ledger, std::uint32_t num_takes) noexcept : ledger_(ledger) {
    std::uint32_t const num_free = ledger.pool().num_free();
    num_victims_ = num_takes > num_free ? num_takes - num_free : 0;
    cursor_ = ledger.pool().oldest_cached();
    fetch_nodes();
    advance();
  }

  // Call before each take.
  void before_take() noexcept {
    if (num_taken_++ % kGroup == 0) advance();
  }

 private:
  // Long enough that a group's work hides a wait for memory, short enough for the misses that a core keeps in flight (10 to 24).
  static constexpr std::uint32_t kGroup = 8;

  void advance() noexcept {
    for (std::uint32_t i = 0; i < group_size_; ++i) ledger_.index().prefetch_links(group_[i]);
    fetch_nodes();
  }
  void fetch_nodes() noexcept {
    BlockPool const& pool = ledger_.pool();
    group_size_ = 0;
    for (; num_victims_ > 0 && group_size_ < kGroup && cursor_ != kNoBlock; --num_victims_) {
      NodeId const node = pool.content(cursor_);
      cursor_ = pool.victim_after(cursor_);
      ledger_.index().prefetch(node);
      ledger_.regions().prefetch(node);
      group_[group_size_++] = node;
    }
  }

  BlockLedger const& ledger_;
  BlockId cursor_;
  std::uint32_t num_victims_;  // not fetched yet
  std::uint32_t num_taken_ = 0;
  std::uint32_t group_size_ = 0;
  std::array<NodeId, kGroup> group_;
};

}  // namespace residentkv
