#pragma once
// What each slot of a tier holds, for whom, and what may be thrown away. Knows nothing of bytes.
//
//   FREE -> begin_fill -> FILLING -> finish_fill -> READY -> drop, eviction -> FREE, or DRAINING while somebody still reads it
//                           | abort_fill -> FREE                                            | last end_read -> FREE
//
// Content has a key (a digest made by the caller); a READY slot is found by it. A slot is *wanted* while claims need it; an unwanted READY
// slot that nobody reads may be evicted for new content, the least recently used of the lowest priority first.
//
// A reservation is room promised to a claim that is not offloaded yet: `begin_fill` draws on it. What claims were promised is not given to
// others, and does not depend on what anybody else stores.
//
// Reading does not break a promise, it delays it: unwanted content that is being read (*lent*) can not be evicted now, but counts as room.
//
// Invariants: (1) free + filling + ready + draining = num_slots. (2) reserved <= free + evictable + lent. (3) a slot that is being filled
// or read is not given to anybody else (INV-3). (4) a key names at most one slot, FILLING or READY. Complexity: O(log slots) unless said
// otherwise. Thread safety: none.
#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "core/ids.hpp"

namespace residentkv {

using ContentKey = std::array<std::uint8_t, 32>;  // SHA-256 of identity, layout and tokens

struct ContentKeyHash {
  std::size_t operator()(ContentKey const& key) const noexcept {
    std::size_t value = 0;  // a digest is as good as random already
    for (std::size_t i = 0; i < sizeof(value); ++i) value = value << 8 | key[i];
    return value;
  }
};

enum class SlotState : std::uint8_t { kFree, kFilling, kReady, kDraining };

class SlotTable {
 public:
  struct Counts {
    std::uint32_t num_slots = 0;
    std::uint32_t free = 0;
    std::uint32_t filling = 0;
    std::uint32_t ready = 0;
    std::uint32_t draining = 0;
    std::uint32_t wanted = 0;     // READY or FILLING, needed by claims
    std::uint32_t evictable = 0;  // READY, unwanted, read by nobody
    std::uint32_t lent = 0;       // READY and unwanted, or DRAINING, and being read
    std::uint32_t reserved = 0;
    std::uint64_t num_evictions = 0;
    std::uint64_t num_hits = 0;  // of find
    std::uint64_t num_misses = 0;
  };
  struct Filled {
    SlotId slot;
    std::optional<ContentKey> evicted;  // what had to go for it
  };

  explicit SlotTable(std::uint32_t num_slots);  // REQUIRES: num_slots > 0.

  // --- promises ---

  // Promises room for `count` more slots, or returns false when there is not that much.  O(1).
  [[nodiscard]] bool reserve(std::uint32_t count);
  void forfeit(std::uint32_t count);  // REQUIRES: count <= reserved.

  // --- content ---

  // The READY slot of this content, made the most recently used; or nullopt.
  [[nodiscard]] std::optional<SlotId> find(ContentKey const& key);
  // Whether content with this key is READY or on its way.  O(1).
  [[nodiscard]] bool has(ContentKey const& key) const noexcept { return by_key_.contains(key); }

  // Takes a slot for new content: one of the reserved ones, or free room beyond them. Nullopt when there is none now: for a reserved one
  // that happens only while lent slots make up the room, and the reservation stands.
  // REQUIRES: the key is not here yet; for `from_reservation`, something is reserved.
  [[nodiscard]] std::optional<Filled> begin_fill_reserved(ContentKey const& key);
  [[nodiscard]] std::optional<Filled> begin_fill(ContentKey const& key, std::uint32_t priority);
  void finish_fill(SlotId slot, std::vector<std::uint64_t> checksums);  // REQUIRES: FILLING.
  void abort_fill(SlotId slot);                                         // REQUIRES: FILLING. Wanted or not, it is gone.

  // Content that an earlier process left in this slot: FREE to READY.  REQUIRES: FREE, the key is not here, nothing is reserved yet.
  // O(free slots).
  void adopt(SlotId slot, ContentKey const& key, std::uint32_t priority, std::vector<std::uint64_t> checksums);

  void begin_read(SlotId slot);                                                  // REQUIRES: READY.
  void end_read(SlotId slot);                                                    // REQUIRES: being read.
  [[nodiscard]] std::vector<std::uint64_t> const& checksums(SlotId slot) const;  // REQUIRES: READY.

  void want(SlotId slot);    // a claim needs it. REQUIRES: FILLING or READY.
  void unwant(SlotId slot);  // REQUIRES: wanted. The last one makes it ordinary cached content.
  // Throws content away, for example because it is bad. REQUIRES: READY. A slot that is read is free when that ends.
  void drop(SlotId slot);

  [[nodiscard]] SlotState state(SlotId slot) const { return at(slot).state; }
  [[nodiscard]] Counts counts() const noexcept;
  // Checks everything.  O(slots).  THROWS: InvariantError.
  void check_invariants() const;

 private:
  struct Slot {
    SlotState state = SlotState::kFree;
    std::uint32_t num_wanting = 0;
    std::uint32_t num_reading = 0;
    std::uint32_t priority = 0;
    std::uint64_t last_used = 0;
    ContentKey key{};
    std::vector<std::uint64_t> checksums;
  };
  using Age = std::pair<std::uint32_t, std::uint64_t>;  // priority, last used

  [[nodiscard]] Slot const& at(SlotId slot) const;
  [[nodiscard]] Slot& at(SlotId slot) { return const_cast<Slot&>(std::as_const(*this).at(slot)); }
  [[nodiscard]] static bool is_evictable(Slot const& slot) noexcept;
  [[nodiscard]] static bool is_lent(Slot const& slot) noexcept;
  [[nodiscard]] std::uint32_t num_available() const noexcept;  // now
  [[nodiscard]] Filled fill(ContentKey const& key, std::uint32_t priority);
  // Keeps the eviction order right around a change of a slot.
  template <typename Change>
  void change(SlotId id, Change&& change);
  void release(SlotId id, Slot& slot);
  void check_accounting() const;

  std::vector<Slot> slots_;
  std::vector<SlotId> free_;
  std::unordered_map<ContentKey, SlotId, ContentKeyHash> by_key_;
  std::map<Age, SlotId> evictable_;
  std::uint64_t clock_ = 0;  // uses
  Counts counts_;
};

}  // namespace residentkv
