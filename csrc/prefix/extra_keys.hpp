#pragma once
// Interned per-block extra keys (adapter, multimodal item, salt): equal bytes get equal numbers, so a node compares one integer. Reference
// counted by nodes and requests: a stream of one-off image hashes leaves nothing behind.
// Thread safety: none.
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/check.hpp"
#include "core/ids.hpp"

namespace residentkv {

class ExtraKeys {
 public:
  // The number of `bytes`, with one reference more.  Amortised O(length).
  [[nodiscard]] ExtraId intern(std::string_view bytes) {
    auto [entry, added] = ids_.try_emplace(std::string(bytes), 0);
    if (added) {
      if (free_.empty()) {
        entries_.push_back({});
        free_.push_back(static_cast<std::uint32_t>(entries_.size()));  // ids start at 1; 0 is kNoExtra
      }
      entry->second = free_.back();
      free_.pop_back();
      entries_[entry->second - 1] = {.key = &entry->first, .num_references = 0};
    }
    ExtraId const id{entry->second};
    retain(id);
    return id;
  }

  void retain(ExtraId id) {
    if (id != kNoExtra) ++entries_[index_of(id) - 1].num_references;
  }

  void release(ExtraId id) {
    if (id == kNoExtra) return;
    Entry& entry = entries_[index_of(id) - 1];
    RKV_INVARIANT(entry.num_references > 0, "extra key ", index_of(id), " released too often");
    if (--entry.num_references > 0) return;
    ids_.erase(ids_.find(*entry.key));
    free_.push_back(index_of(id));
  }

  [[nodiscard]] std::size_t size() const noexcept { return ids_.size(); }

 private:
  struct Entry {
    std::string const* key = nullptr;  // owned by ids_, whose keys do not move
    std::uint64_t num_references = 0;
  };
  std::unordered_map<std::string, std::uint32_t> ids_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_;
};

}  // namespace residentkv
