#include "alloc/block_pool.hpp"

namespace residentkv {

BlockPool::BlockPool(Options options)
    : options_(options), first_(options.null_block ? 1 : 0), fresh_(first_), num_free_(options.usable_blocks) {
  RKV_REQUIRE(options.usable_blocks > 0 && options.usable_blocks < (1U << 30), "usable_blocks=", options.usable_blocks,
              " must be between 1 and 2^30 - 1");
  blocks_.grow(num_rows());
  blocks_.advise_large_pages();
}

std::optional<Reservation> BlockPool::reserve(std::uint32_t count) {
  if (count > num_available()) return std::nullopt;
  num_reserved_ += count;
  return Reservation(this, count);
}

BlockPool::Taken BlockPool::take(Reservation& from) {
  RKV_INVARIANT(from.pool_ == this && from.remaining_ > 0, "INV-2: took a block without a reservation");
  Taken taken{.block = kNoBlock, .victim_content = kNoNode, .victim_retention = Retention::kNone};
  if (num_free_ > 0) {
    taken.block = pop_free();
    --num_free_;
  } else {
    taken.block = victims_[0].oldest() != kNoBlock ? victims_[0].oldest() : victims_[1].oldest();
    RKV_INVARIANT(taken.block != kNoBlock, "INV-2: reserved=", num_reserved_, " but no block is free or cached");
    Block const& victim = blocks_[index_of(taken.block)];
    taken.victim_content = victim.content;
    taken.victim_retention = static_cast<Retention>(victim.retention);
    leave_idle(taken.block, victim);
    ++num_evictions_;
  }
  from.forfeit(1);
  Block& block = blocks_[index_of(taken.block)];
  block.content = kNoNode;
  block.ref_count = 1;
  block.retention = static_cast<std::uint8_t>(Retention::kNone);
  ++num_active_;
  ++num_allocations_;
  return taken;
}

void BlockPool::retain_all(std::span<BlockId const> chain) {
  for (BlockId const block : chain) retain(block);
}

void BlockPool::release_all(std::span<BlockId const> chain) {
  for (std::size_t i = chain.size(); i-- > 0;) release(chain[i]);
}

void BlockPool::retain(BlockId id) {
  Block& block = blocks_[index_of(id)];
  if (block.ref_count == 0) {
    RKV_INVARIANT(block.content != kNoNode, "INV-7: retained free block ", index_of(id));
    leave_idle(id, block);
    ++num_active_;
    num_resident_active_ += block.retention == static_cast<std::uint8_t>(Retention::kResident);
  }
  block.ref_count = (block.ref_count + 1) & 0x3FFFFFFF;
  RKV_INVARIANT(block.ref_count != 0, "INV-9: block ", index_of(id), " has too many holders");
}

void BlockPool::release(BlockId id) {
  Block& block = blocks_[index_of(id)];
  RKV_INVARIANT(block.ref_count > 0, "INV-9: released block ", index_of(id), " which nobody holds");
  block.ref_count = (block.ref_count - 1) & 0x3FFFFFFF;
  if (block.ref_count > 0) return;
  --num_active_;
  num_resident_active_ -= block.retention == static_cast<std::uint8_t>(Retention::kResident);
  if (block.content == kNoNode) {
    push_free(id, block);
  } else {
    become_idle(id, block);
  }
}

void BlockPool::set_content(BlockId id, NodeId content, Retention retention) {
  Block& block = blocks_[index_of(id)];
  RKV_INVARIANT(block.ref_count > 0 && block.content == kNoNode && content != kNoNode && retention != Retention::kNone, "INV-7: block ",
                index_of(id), " can not take content now: ref_count=", block.ref_count);
  block.content = content;
  block.retention = static_cast<std::uint8_t>(retention) & 3U;
  num_resident_active_ += retention == Retention::kResident;
}

void BlockPool::clear_content(BlockId id) {
  Block& block = blocks_[index_of(id)];
  RKV_INVARIANT(block.content != kNoNode, "INV-7: block ", index_of(id), " has no content to clear");
  if (block.ref_count == 0) {
    leave_idle(id, block);
    push_free(id, block);
  } else {
    num_resident_active_ -= block.retention == static_cast<std::uint8_t>(Retention::kResident);
  }
  block.content = kNoNode;
  block.retention = static_cast<std::uint8_t>(Retention::kNone);
}

void BlockPool::set_retention(BlockId id, Retention retention) {
  Block& block = blocks_[index_of(id)];
  RKV_INVARIANT(block.content != kNoNode && retention != Retention::kNone, "INV-7: block ", index_of(id), " has no content to retain");
  bool const idle = block.ref_count == 0;
  if (idle) {
    leave_idle(id, block);
  } else {
    num_resident_active_ -= block.retention == static_cast<std::uint8_t>(Retention::kResident);
    num_resident_active_ += retention == Retention::kResident;
  }
  block.retention = static_cast<std::uint8_t>(retention) & 3U;
  if (idle) become_idle(id, block);
}

BlockState BlockPool::state(BlockId id) const noexcept {
  if (index_of(id) < first_) return BlockState::kNull;
  if (is_fresh(id)) return BlockState::kFree;
  Block const& block = blocks_[index_of(id)];
  bool const is_resident = block.retention == static_cast<std::uint8_t>(Retention::kResident);
  if (block.ref_count > 0) return is_resident ? BlockState::kResidentActive : BlockState::kActive;
  if (block.content == kNoNode) return BlockState::kFree;
  return is_resident ? BlockState::kResidentIdle : BlockState::kCached;
}

void BlockPool::become_idle(BlockId id, Block const& block) {
  if (block.retention == static_cast<std::uint8_t>(Retention::kResident)) {
    ++num_resident_idle_;
    return;
  }
  victims_[block.retention == static_cast<std::uint8_t>(Retention::kSoft)].append(blocks_, id);
  ++num_cached_;
}

void BlockPool::leave_idle(BlockId id, Block const& block) {
  if (block.retention == static_cast<std::uint8_t>(Retention::kResident)) {
    --num_resident_idle_;
    return;
  }
  victims_[block.retention == static_cast<std::uint8_t>(Retention::kSoft)].remove(blocks_, id);
  --num_cached_;
}

void BlockPool::push_free(BlockId id, Block& block) noexcept {
  block.next = free_head_;
  free_head_ = id;
  ++num_free_;
}

BlockId BlockPool::pop_free() noexcept {
  if (free_head_ == kNoBlock) return BlockId{fresh_++};
  BlockId const block = free_head_;
  free_head_ = blocks_[index_of(block)].next;
  return block;
}

void BlockPool::check_accounting() const {
  RKV_INVARIANT(num_free_ + num_cached_ + num_active_ + num_resident_idle_ == num_usable(), "INV-1: free=", num_free_,
                " + cached=", num_cached_, " + active=", num_active_, " + resident_idle=", num_resident_idle_, " != usable=", num_usable());
  RKV_INVARIANT(num_reserved_ <= num_free_ + num_cached_, "INV-2: reserved=", num_reserved_, " > free=", num_free_,
                " + cached=", num_cached_);
}

void BlockPool::check() const {
  check_accounting();
  std::array<std::uint32_t, 4> idle{};
  std::uint32_t held = 0;
  std::uint32_t held_resident = 0;
  for (std::uint32_t i = first_; i < fresh_; ++i) {
    Block const& block = blocks_[i];
    RKV_INVARIANT((block.content == kNoNode) == (block.retention == 0), "INV-7: block ", i,
                  ": retention without content, or content without");
    if (block.ref_count == 0) ++idle[block.retention];
    held += block.ref_count > 0;
    held_resident += block.ref_count > 0 && block.retention == static_cast<std::uint8_t>(Retention::kResident);
  }
  RKV_INVARIANT(idle[0] + num_rows() - fresh_ == num_free_ && idle[1] + idle[2] == num_cached_ && idle[3] == num_resident_idle_ &&
                    held == num_active_ && held_resident == num_resident_active_,
                "INV-1: counters do not match the blocks");
  std::uint32_t free_listed = 0;
  for (BlockId i = free_head_; i != kNoBlock && free_listed <= num_rows(); i = blocks_[index_of(i)].next) ++free_listed;
  RKV_INVARIANT(free_listed == idle[0], "INV-1: free list holds ", free_listed, " blocks, expected ", idle[0]);
  for (std::uint32_t list = 0; list < 2; ++list) {
    std::uint32_t listed = 0;
    BlockId previous = kNoBlock;
    for (BlockId i = victims_[list].oldest(); i != kNoBlock; i = blocks_[index_of(i)].next) {
      Block const& block = blocks_[index_of(i)];
      RKV_INVARIANT(block.ref_count == 0 && block.retention == list + 1 && block.previous == previous && listed < idle[list + 1],
                    "INV-2: block ", index_of(i), " does not belong in eviction list ", list);
      previous = i;
      ++listed;
    }
    RKV_INVARIANT(listed == idle[list + 1], "INV-1: eviction list ", list, " holds ", listed, " blocks, expected ", idle[list + 1]);
  }
}

}  // namespace residentkv
