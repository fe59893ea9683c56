#pragma once
// A fixed set of KV blocks, handed out in two steps: reserve a number, then take that many.
//
// A block is free (holds nothing), held (ref_count > 0) or idle (ref_count 0 with content). An idle block's retention says what may happen
// to it: kCached and kSoft are victims, in that order; kResident never is, whatever the caller does.
//
// Invariants: (1) free + cached + active + resident_idle == usable.  (2) reserved <= free + cached.  (3) A resident block is in no eviction
// list.  (4) ref_count == 0 and no content means free.  (1) and (2) are checked by check_accounting() in O(1), all of them by check() in
// O(n). Thread safety: none; the owner (BlockLedger) serialises calls. Every operation is O(1) a block and allocates nothing.
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "alloc/eviction_order.hpp"
#include "core/check.hpp"
#include "core/ids.hpp"
#include "core/raw_array.hpp"

namespace residentkv {

enum class Retention : std::uint8_t {
  kNone,      // no content: free as soon as nobody holds it
  kCached,    // content nobody claimed, or claimed best-effort: first victims
  kSoft,      // soft_priority: victims when nothing cached is left
  kResident,  // claimed and protected: never a victim
};

// How a block looks from outside.
enum class BlockState : std::uint8_t { kFree, kCached, kActive, kResidentIdle, kResidentActive, kNull };

class BlockPool;

// A number of blocks promised and not yet taken. Move-only; what is not taken is forfeited when it goes out of scope.
class Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept : pool_(other.pool_), remaining_(std::exchange(other.remaining_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(remaining_, other.remaining_);
    return *this;
  }
  Reservation(Reservation const&) = delete;
  Reservation& operator=(Reservation const&) = delete;
  ~Reservation() { forfeit(remaining_); }

  [[nodiscard]] std::uint32_t remaining() const noexcept { return remaining_; }
  void absorb(Reservation other) noexcept;     // the other's promise becomes part of this one
  void forfeit(std::uint32_t count) noexcept;  // gives part of the promise back.  REQUIRES: count <= remaining().

 private:
  friend class BlockPool;
  Reservation(BlockPool* pool, std::uint32_t count) noexcept : pool_(pool), remaining_(count) {}
  BlockPool* pool_ = nullptr;
  std::uint32_t remaining_ = 0;
};

class BlockPool {
 public:
  struct Options {
    std::uint32_t usable_blocks;
    bool null_block;  // id 0 is never handed out, ids are 1..usable; else ids are 0..usable-1
  };
  explicit BlockPool(Options options);  // REQUIRES: 0 < usable_blocks < 2^30.
  BlockPool(BlockPool const&) = delete;
  BlockPool& operator=(BlockPool const&) = delete;

  // Promises `count` blocks, or nullopt when fewer are available now. Evicts nothing.  `count` may be 0.
  [[nodiscard]] std::optional<Reservation> reserve(std::uint32_t count);

  struct Taken {
    BlockId block;               // ref_count 1, no content
    NodeId victim_content;       // what was evicted for it, kNoNode if it was free
    Retention victim_retention;  // of the victim; kNone if it was free
  };
  // Turns one promised block into a held one.  REQUIRES: from.remaining() > 0.
  [[nodiscard]] Taken take(Reservation& from);

  // One more holder for each block of a chain; one less, from its tail, so that children enter the eviction list before their parents.
  void retain_all(std::span<BlockId const> chain);
  void release_all(std::span<BlockId const> chain);
  void retain(BlockId block);   // one more holder.  REQUIRES: held, or idle and (resident or num_available() > 0).
  void release(BlockId block);  // one holder less.  REQUIRES: held.

  // Names what the block holds and how long it is kept once idle.  REQUIRES: held, content != kNoNode.
  void set_content(BlockId block, NodeId content, Retention retention);
  // The content is no longer wanted: an idle block becomes free, a held one when it is released.  REQUIRES: has content.
  void clear_content(BlockId block);
  // Moves content to another retention class, as its newest member.  REQUIRES: has content, retention != kNone.
  void set_retention(BlockId block, Retention retention);

  [[nodiscard]] std::uint32_t ref_count(BlockId block) const noexcept { return blocks_[index_of(block)].ref_count; }
  [[nodiscard]] NodeId content(BlockId block) const noexcept { return blocks_[index_of(block)].content; }
  [[nodiscard]] Retention retention(BlockId block) const noexcept { return static_cast<Retention>(blocks_[index_of(block)].retention); }
  [[nodiscard]] BlockState state(BlockId block) const noexcept;
  [[nodiscard]] bool is_usable(std::int64_t block) const noexcept {
    return block >= first_ && block < std::int64_t{first_} + options_.usable_blocks;
  }
  [[nodiscard]] bool is_fresh(BlockId block) const noexcept { return index_of(block) >= fresh_; }  // never handed out yet

  [[nodiscard]] std::uint32_t num_usable() const noexcept { return options_.usable_blocks; }
  [[nodiscard]] std::uint32_t num_rows() const noexcept { return options_.usable_blocks + first_; }
  [[nodiscard]] std::uint32_t first_block() const noexcept { return first_; }
  [[nodiscard]] std::uint32_t num_free() const noexcept { return num_free_; }
  [[nodiscard]] std::uint32_t num_cached() const noexcept { return num_cached_; }
  [[nodiscard]] std::uint32_t num_active() const noexcept { return num_active_; }
  [[nodiscard]] std::uint32_t num_resident_idle() const noexcept { return num_resident_idle_; }
  [[nodiscard]] std::uint32_t num_resident_active() const noexcept { return num_resident_active_; }
  [[nodiscard]] std::uint32_t num_reserved() const noexcept { return num_reserved_; }
  // Blocks that can be promised now.
  [[nodiscard]] std::uint32_t num_available() const noexcept { return num_free_ + num_cached_ - num_reserved_; }

  [[nodiscard]] std::uint64_t num_allocations() const noexcept { return num_allocations_; }
  [[nodiscard]] std::uint64_t num_evictions() const noexcept { return num_evictions_; }
  [[nodiscard]] std::size_t metadata_bytes() const noexcept { return std::size_t{num_rows()} * sizeof(Block); }

  // The eviction order, to look ahead in: the block that goes first (kNoBlock: none is cached), and the one after `block`.
  [[nodiscard]] BlockId oldest_cached() const noexcept { return victims_[0].oldest(); }
  [[nodiscard]] BlockId victim_after(BlockId block) const noexcept { return blocks_[index_of(block)].next; }

  // Calls visit(block) for every evictable block, in the order of eviction.  O(cached).
  template <typename Visit>
  void for_each_victim(Visit&& visit) const {
    for (EvictionList<Blocks> const& list : victims_) {
      for (BlockId block = list.oldest(); block != kNoBlock; block = blocks_[index_of(block)].next) visit(block);
    }
  }

  void check_accounting() const;  // invariants (1) and (2).  O(1).  THROWS: InvariantError.
  void check() const;             // all invariants.  O(rows).  THROWS: InvariantError.

 private:
  friend class Reservation;
  struct Block : BlockLinks {
    NodeId content = kNoNode;
    std::uint32_t ref_count : 30 = 0;
    std::uint32_t retention : 2 = 0;  // Retention
  };
  static_assert(sizeof(Block) == 16);
  using Blocks = RawArray<Block>;

  void become_idle(BlockId id, Block const& block);
  void leave_idle(BlockId id, Block const& block);
  void push_free(BlockId id, Block& block) noexcept;
  [[nodiscard]] BlockId pop_free() noexcept;

  Options options_;
  std::uint32_t first_;  // first usable id: 1 with a null block
  std::uint32_t fresh_;  // ids below have been handed out; above, Block records do not exist yet
  Blocks blocks_;
  BlockId free_head_ = kNoBlock;                 // stack through Block::next: the most recently freed is the warmest
  std::array<EvictionList<Blocks>, 2> victims_;  // kCached, kSoft
  std::uint32_t num_free_;
  std::uint32_t num_cached_ = 0;
  std::uint32_t num_active_ = 0;
  std::uint32_t num_resident_idle_ = 0;
  std::uint32_t num_resident_active_ = 0;
  std::uint32_t num_reserved_ = 0;
  std::uint64_t num_allocations_ = 0;
  std::uint64_t num_evictions_ = 0;
};

inline void Reservation::forfeit(std::uint32_t count) noexcept {
  if (count == 0) return;
  pool_->num_reserved_ -= count;
  remaining_ -= count;
}

inline void Reservation::absorb(Reservation other) noexcept {
  if (pool_ == nullptr) pool_ = other.pool_;
  remaining_ += std::exchange(other.remaining_, 0);
}

}  // namespace residentkv
