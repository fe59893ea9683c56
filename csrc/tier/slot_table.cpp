#include "tier/slot_table.hpp"

#include <algorithm>

namespace residentkv {

SlotTable::SlotTable(std::uint32_t num_slots) : slots_(num_slots) {
  RKV_REQUIRE(num_slots > 0, "a tier needs at least one slot");
  counts_.num_slots = num_slots;
  counts_.free = num_slots;
  free_.reserve(num_slots);
  for (std::uint32_t i = num_slots; i-- > 0;) free_.push_back(SlotId{i});
}

SlotTable::Slot const& SlotTable::at(SlotId slot) const {
  RKV_REQUIRE(index_of(slot) < slots_.size(), "slot ", index_of(slot), " of ", slots_.size());
  return slots_[index_of(slot)];
}

bool SlotTable::is_evictable(Slot const& slot) noexcept {
  return slot.state == SlotState::kReady && slot.num_wanting == 0 && slot.num_reading == 0;
}

bool SlotTable::is_lent(Slot const& slot) noexcept {
  bool const is_unwanted = slot.state == SlotState::kDraining || (slot.state == SlotState::kReady && slot.num_wanting == 0);
  return is_unwanted && slot.num_reading > 0;
}

std::uint32_t SlotTable::num_available() const noexcept { return counts_.free + static_cast<std::uint32_t>(evictable_.size()); }

template <typename Change>
void SlotTable::change(SlotId id, Change&& change) {
  Slot& slot = at(id);
  if (is_evictable(slot)) evictable_.erase({slot.priority, slot.last_used});
  counts_.lent -= is_lent(slot);
  change(slot);
  counts_.lent += is_lent(slot);
  if (is_evictable(slot)) evictable_.emplace(Age{slot.priority, slot.last_used}, id);
  check_accounting();
}

bool SlotTable::reserve(std::uint32_t count) {
  if (std::uint64_t{counts_.reserved} + count > num_available() + counts_.lent) return false;
  counts_.reserved += count;
  return true;
}

void SlotTable::forfeit(std::uint32_t count) {
  RKV_REQUIRE(count <= counts_.reserved, "forfeit ", count, " of ", counts_.reserved, " reserved slots");
  counts_.reserved -= count;
}

std::optional<SlotId> SlotTable::find(ContentKey const& key) {
  auto const found = by_key_.find(key);
  if (found == by_key_.end() || at(found->second).state != SlotState::kReady) {
    ++counts_.num_misses;
    return std::nullopt;
  }
  ++counts_.num_hits;
  change(found->second, [this](Slot& slot) { slot.last_used = ++clock_; });
  return found->second;
}

std::optional<SlotTable::Filled> SlotTable::begin_fill_reserved(ContentKey const& key) {
  RKV_REQUIRE(!has(key), "this content is here already, or on its way");
  RKV_REQUIRE(counts_.reserved > 0, "nothing is reserved");
  if (num_available() == 0) return std::nullopt;
  --counts_.reserved;
  return fill(key, UINT32_MAX);  // claimed content that becomes ordinary later was worth a claim: evicted last
}

std::optional<SlotTable::Filled> SlotTable::begin_fill(ContentKey const& key, std::uint32_t priority) {
  RKV_REQUIRE(!has(key), "this content is here already, or on its way");
  if (num_available() == 0 || num_available() + counts_.lent <= counts_.reserved) return std::nullopt;
  return fill(key, priority);
}

SlotTable::Filled SlotTable::fill(ContentKey const& key, std::uint32_t priority) {
  std::optional<ContentKey> evicted;
  if (free_.empty()) {
    RKV_INVARIANT(!evictable_.empty(), "INV-12: ", counts_.reserved, " slots were promised and none can be had");
    SlotId const victim = evictable_.begin()->second;
    evicted = at(victim).key;
    ++counts_.num_evictions;
    drop(victim);
  }
  SlotId const id = free_.back();
  free_.pop_back();
  --counts_.free;
  ++counts_.filling;
  by_key_.emplace(key, id);
  Slot& slot = at(id);
  slot = Slot{};
  slot.state = SlotState::kFilling;
  slot.priority = priority;
  slot.key = key;
  slot.last_used = ++clock_;
  check_accounting();
  return {.slot = id, .evicted = evicted};
}

void SlotTable::finish_fill(SlotId id, std::vector<std::uint64_t> checksums) {
  RKV_REQUIRE(at(id).state == SlotState::kFilling, "slot ", index_of(id), " is not being filled");
  change(id, [&](Slot& slot) {
    slot.state = SlotState::kReady;
    slot.checksums = std::move(checksums);
    --counts_.filling;
    ++counts_.ready;
  });
}

void SlotTable::abort_fill(SlotId id) {
  Slot& slot = at(id);
  RKV_REQUIRE(slot.state == SlotState::kFilling, "slot ", index_of(id), " is not being filled");
  by_key_.erase(slot.key);
  --counts_.filling;
  release(id, slot);
  check_accounting();
}

void SlotTable::adopt(SlotId id, ContentKey const& key, std::uint32_t priority, std::vector<std::uint64_t> checksums) {
  RKV_REQUIRE(at(id).state == SlotState::kFree, "slot ", index_of(id), " is in use");
  RKV_REQUIRE(!has(key), "this content is here already, or on its way");
  RKV_REQUIRE(counts_.reserved == 0, "content is adopted before anything is promised");
  std::erase(free_, id);
  by_key_.emplace(key, id);
  --counts_.free;
  ++counts_.ready;
  change(id, [&](Slot& slot) {
    slot.state = SlotState::kReady;
    slot.priority = priority;
    slot.key = key;
    slot.checksums = std::move(checksums);
    slot.last_used = ++clock_;
  });
}

void SlotTable::begin_read(SlotId id) {
  RKV_REQUIRE(at(id).state == SlotState::kReady, "slot ", index_of(id), " is not ready");
  change(id, [this](Slot& slot) {
    ++slot.num_reading;
    slot.last_used = ++clock_;
  });
}

void SlotTable::end_read(SlotId id) {
  RKV_REQUIRE(at(id).num_reading > 0, "nobody reads slot ", index_of(id));
  change(id, [&](Slot& slot) {
    if (--slot.num_reading > 0 || slot.state != SlotState::kDraining) return;
    --counts_.draining;
    release(id, slot);
  });
}

std::vector<std::uint64_t> const& SlotTable::checksums(SlotId id) const {
  RKV_REQUIRE(at(id).state == SlotState::kReady, "slot ", index_of(id), " is not ready");
  return at(id).checksums;
}

void SlotTable::want(SlotId id) {
  SlotState const now = at(id).state;
  RKV_REQUIRE(now == SlotState::kFilling || now == SlotState::kReady, "slot ", index_of(id), " holds nothing to want");
  // What becomes wanted can not be evicted any more; the promises to others must still stand.
  bool const is_room = is_evictable(at(id)) || is_lent(at(id));
  RKV_REQUIRE(!is_room || num_available() + counts_.lent > counts_.reserved, "slot ", index_of(id),
              " is part of what was promised to others: reserve room for it first");
  change(id, [this](Slot& slot) { counts_.wanted += slot.num_wanting++ == 0; });
}

void SlotTable::unwant(SlotId id) {
  RKV_REQUIRE(at(id).num_wanting > 0, "nobody wants slot ", index_of(id));
  change(id, [this](Slot& slot) { counts_.wanted -= --slot.num_wanting == 0; });
}

void SlotTable::drop(SlotId id) {
  RKV_REQUIRE(at(id).state == SlotState::kReady, "slot ", index_of(id), " is not ready");
  change(id, [&](Slot& slot) {
    by_key_.erase(slot.key);
    --counts_.ready;
    counts_.wanted -= slot.num_wanting > 0;
    slot.num_wanting = 0;
    if (slot.num_reading > 0) {
      slot.state = SlotState::kDraining;
      ++counts_.draining;
    } else {
      release(id, slot);
    }
  });
}

void SlotTable::release(SlotId id, Slot& slot) {
  counts_.wanted -= slot.num_wanting > 0;
  slot = Slot{};
  free_.push_back(id);
  ++counts_.free;
}

SlotTable::Counts SlotTable::counts() const noexcept {
  Counts now = counts_;
  now.evictable = static_cast<std::uint32_t>(evictable_.size());
  return now;
}

void SlotTable::check_accounting() const {
  RKV_INVARIANT(counts_.free + counts_.filling + counts_.ready + counts_.draining == counts_.num_slots, "INV-12: free=", counts_.free,
                " filling=", counts_.filling, " ready=", counts_.ready, " draining=", counts_.draining, " of ", counts_.num_slots);
  RKV_INVARIANT(counts_.free == free_.size(), "INV-12: free=", counts_.free, " listed=", free_.size());
  RKV_INVARIANT(counts_.reserved <= num_available() + counts_.lent, "INV-12: reserved=", counts_.reserved, " free=", counts_.free,
                " evictable=", evictable_.size(), " lent=", counts_.lent);
}

void SlotTable::check_invariants() const {
  check_accounting();
  Counts seen;
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    Slot const& slot = slots_[i];
    seen.free += slot.state == SlotState::kFree;
    seen.filling += slot.state == SlotState::kFilling;
    seen.ready += slot.state == SlotState::kReady;
    seen.draining += slot.state == SlotState::kDraining;
    seen.wanted += slot.num_wanting > 0;
    seen.lent += is_lent(slot);
    bool const has_key = slot.state == SlotState::kFilling || slot.state == SlotState::kReady;
    auto const found = by_key_.find(slot.key);
    RKV_INVARIANT(!has_key || (found != by_key_.end() && found->second == SlotId{i}), "INV-12: slot ", i, " is not found by its key");
    auto const listed = evictable_.find({slot.priority, slot.last_used});
    RKV_INVARIANT(is_evictable(slot) == (listed != evictable_.end() && listed->second == SlotId{i}), "INV-12: slot ", i,
                  " is in the wrong place of the eviction order");
    RKV_INVARIANT(slot.state != SlotState::kFree || (slot.num_reading == 0 && slot.num_wanting == 0), "INV-12: free slot ", i,
                  " is in use");
  }
  RKV_INVARIANT(seen.free == counts_.free && seen.filling == counts_.filling && seen.ready == counts_.ready &&
                    seen.draining == counts_.draining && seen.wanted == counts_.wanted && seen.lent == counts_.lent,
                "INV-12: the slots and their counts differ");
  RKV_INVARIANT(by_key_.size() == counts_.filling + counts_.ready, "INV-12: ", by_key_.size(), " keys for ",
                counts_.filling + counts_.ready, " slots");
}

}  // namespace residentkv
