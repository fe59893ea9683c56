#pragma once
// Blocks that an offload reads or a restore writes. A copy holds them like a request does (contract.md: active), so whatever happens to the
// claim meanwhile, none of them is given to anybody else before the copy has ended (INV-3).
//
// A restore is the filler of its planned nodes. When somebody else's content gets there first, or no claim wants the node any more, the
// node is taken from the copy, and the block comes back when the copy ends.
//
// Invariants: INV-3.  INV-11: a node filled by kRestorer belongs to exactly one copy, whose block for it is held and without content.
// Complexity: O(1) a copy unless said otherwise. Thread safety: none.
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "core/check.hpp"
#include "core/ids.hpp"

namespace residentkv {

struct HeldCopy {
  enum class Direction : std::uint8_t { kOffload, kRestore };
  struct Entry {
    std::uint32_t position;  // in the claim's footprint
    NodeId node;             // of a restore: what it fills; kNoNode once taken from it
    BlockId block;
  };
  ClaimId claim = kNoClaim;
  Direction direction = Direction::kOffload;
  std::vector<Entry> entries;  // by position
};

class CopyHolds {
 public:
  [[nodiscard]] CopyId add(HeldCopy copy) {
    CopyId const id{next_++};
    copies_.emplace(id, std::move(copy));
    return id;
  }
  // THROWS: ContractError for a copy that is unknown or has ended.
  [[nodiscard]] HeldCopy const& find(CopyId id) const {
    auto const found = copies_.find(id);
    RKV_REQUIRE(found != copies_.end(), "copy ", index_of(id), " is unknown or has ended");
    return found->second;
  }
  [[nodiscard]] HeldCopy remove(CopyId id) {
    static_cast<void>(find(id));
    return std::move(copies_.extract(id).mapped());
  }
  // The copy that restores `node` no longer fills it.  O(blocks in flight).
  void stop(NodeId node) {
    for (auto& [id, copy] : copies_) {
      if (copy.direction != HeldCopy::Direction::kRestore) continue;
      for (HeldCopy::Entry& entry : copy.entries) {
        if (entry.node != node) continue;
        entry.node = kNoNode;
        return;
      }
    }
    RKV_INVARIANT(false, "INV-11: node ", index_of(node), " is restored by no copy");
  }
  [[nodiscard]] bool has_restores() const noexcept {
    for (auto const& [id, copy] : copies_) {
      if (copy.direction == HeldCopy::Direction::kRestore) return true;
    }
    return false;
  }
  [[nodiscard]] std::map<CopyId, HeldCopy> const& all() const noexcept { return copies_; }

 private:
  std::map<CopyId, HeldCopy> copies_;
  std::uint32_t next_ = 0;
};

}  // namespace residentkv
