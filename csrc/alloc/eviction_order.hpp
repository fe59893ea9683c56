#pragma once
// The order in which idle blocks are given up: an intrusive doubly linked list per retention class, oldest at the head.
//
// Why a list already evicts a chain from its tail, without counting leaves: whoever holds a block holds the blocks before it, and releases
// them last. So a child enters its list no later than its parent, and a parent's class is never weaker than its child's.
//
// Invariants: (1) a block is in at most one list.  (2) head to tail is oldest to newest.  All operations O(1), allocate nothing.
// Thread safety: none.
#include <cstdint>

#include "core/ids.hpp"

namespace residentkv {

struct BlockLinks {
  BlockId previous = kNoBlock;
  BlockId next = kNoBlock;
};

// `Blocks` is indexable by block number and yields a record derived from BlockLinks.
template <typename Blocks>
class EvictionList {
 public:
  [[nodiscard]] BlockId oldest() const noexcept { return head_; }

  void append(Blocks& blocks, BlockId block) noexcept {
    BlockLinks& links = blocks[index_of(block)];
    links.previous = tail_;
    links.next = kNoBlock;
    (tail_ == kNoBlock ? head_ : blocks[index_of(tail_)].next) = block;
    tail_ = block;
  }

  void remove(Blocks& blocks, BlockId block) noexcept {
    BlockLinks const& links = blocks[index_of(block)];
    (links.previous == kNoBlock ? head_ : blocks[index_of(links.previous)].next) = links.next;
    (links.next == kNoBlock ? tail_ : blocks[index_of(links.next)].previous) = links.previous;
  }

 private:
  BlockId head_ = kNoBlock;
  BlockId tail_ = kNoBlock;
};

}  // namespace residentkv
