// Regions that leave the device and come back.
#include <algorithm>

#include "manager/block_ledger.hpp"

namespace residentkv {

// Note [Away]
// Rationale: an offloaded claim is owed its content from a tier; on the device nothing is protected or reserved for it. But it stays
//   accepted, so its nodes stay named: that is how a request that would reuse them is recognised.
// Approach: the region changes its mode to kAway. Of its nodes, those that a request or another protecting claim holds stay where they are;
//   because holds cover leading prefixes, the rest is a tail of the chain, which becomes free at once. What unclaimed content follows that
//   tail could not be reached any more, so it is evicted with it, and a soft or best-effort claim that loses a needed block is harmed.
//   Restoring goes the other way: protect and reserve as on acceptance, and fill the missing nodes from the reservation with a copy.
// Limitations: what hangs below the tail without being part of it is found by looking at every node; that is rare.

std::uint32_t BlockLedger::first_leaving(Region const& region) const {
  for (std::uint32_t i = 0; i < region.nodes.size(); ++i) {
    BlockId const block = index_.block(region.nodes[i]);
    if (block == kNoBlock || (pool_.ref_count(block) == 0 && regions_.hold(region.nodes[i])->num_protecting == 1)) return i;
  }
  return static_cast<std::uint32_t>(region.nodes.size());
}

std::uint64_t BlockLedger::offload(ClaimId claim, std::vector<Filling>& stopped) {
  Region& region = *regions_.find(claim);
  std::uint32_t const first = first_leaving(region);
  RKV_INVARIANT(region.predicate_true && first < region.predicate_end, "INV-11: claim ", index_of(claim), " was offloaded, but stays");
  region.predicate_true = false;
  std::uint64_t const sequence =
      record_claim(EventKind::kClaimOffloaded, region, {.num_surviving = first, .num_leading = first}, kNoRequest, 0, true);
  evict_behind(region, first);
  leave(region, first, stopped);
  return sequence;
}

void BlockLedger::evict_behind(Region const& region, std::uint32_t first) {
  bool has_others = false;
  for (std::uint32_t i = first; i < region.nodes.size(); ++i) {
    has_others = has_others || index_.num_children(region.nodes[i]) != (i + 1 < region.nodes.size());
  }
  std::vector<ClaimId> harmed;  // named a leaving node as well, without protecting it
  for (auto const& [claim, other] : regions_.all()) {
    if (other.predicate_true && other.predicate_end > first && other.nodes[first] == region.nodes[first]) harmed.push_back(claim);
  }
  if (has_others) {
    std::vector<NodeId> const lost = with_descendants({&region.nodes[first], 1});
    for (std::size_t i = lost.size(); i-- > 0;) {  // children before parents
      std::uint32_t const position = index_.position(lost[i]);
      if (is_backed(lost[i]) && !(position < region.nodes.size() && region.nodes[position] == lost[i])) evict_follower(lost[i]);
    }
  }
  for (ClaimId const claim : harmed) {
    Region& other = *regions_.find(claim);
    Survival const left = survival(other);
    harm(other, kNoRequest, kOffloadedCause, {.num_surviving = std::min(left.num_surviving, first), .num_leading = first});
  }
}

void BlockLedger::evict_follower(NodeId node) {
  BlockId const block = index_.block(node);
  NodeHold* const hold = regions_.hold(node);
  bool const is_named = hold != nullptr && hold->is_named();
  RKV_INVARIANT(pool_.ref_count(block) == 0 && !is_protected(node), "INV-5: node ", index_of(node), " is held and its parent leaves");
  record_block(EventKind::kVictimSelected, is_named ? naming_claim(*hold) : kNoClaim, node, block, kNoRequest,
               static_cast<std::uint16_t>(VictimReason::kFollowsOffloaded));
  if (hold != nullptr && !is_named) {
    record_block(EventKind::kBlockLostAfterRelease, hold->ended_claim, node, block, kNoRequest);
    regions_.drop_hold(node);
  }
  index_.set_block(node, kNoBlock);
  pool_.clear_content(block);
  if (!is_named) forget_upwards(node);
}

// The region no longer protects its nodes. Blocks from position `first_free` on become free, the others what their holders make of them.
void BlockLedger::leave(Region& region, std::uint32_t first_free, std::vector<Filling>& stopped) {
  for (std::size_t i = region.nodes.size(); i-- > 0;) {  // tail first: children enter the eviction list before their parents
    NodeId const node = region.nodes[i];
    NodeHold& hold = regions_.rename(node, region, ClaimMode::kAway);
    end_protection(node, hold, stopped);
    BlockId const block = index_.block(node);
    if (block == kNoBlock) continue;
    if (i >= first_free) {
      index_.set_block(node, kNoBlock);
      pool_.clear_content(block);
    } else if (pool_.retention(block) != retention_of(&hold)) {
      pool_.set_retention(block, retention_of(&hold));
    }
  }
  region.mode = ClaimMode::kAway;
}

BlockLedger::Return BlockLedger::come_back(Region& region, std::uint32_t num_restorable) {
  Return result{.sequence = record_claim(EventKind::kClaimRestoreRequired, region, survival(region)), .entries = {}};
  for (std::size_t i = region.nodes.size(); i-- > 0;) {
    NodeHold const& hold = regions_.rename(region.nodes[i], region, ClaimMode::kProtecting);
    if (hold.num_protecting == 1) protect(region.nodes[i], kNoRow);
  }
  region.mode = ClaimMode::kProtecting;
  for (std::uint32_t i = 0; i < num_restorable; ++i) {
    NodeId const node = region.nodes[i];
    if (!is_backed(node)) result.entries.push_back({.position = i, .node = node, .block = take_to_fill(node, kRestorer, kNoRequest)});
  }
  return result;
}

std::uint64_t BlockLedger::settle_restore(ClaimId claim, HeldCopy const& copy, std::uint32_t num_good, std::vector<Filling>& stopped) {
  for (HeldCopy::Entry const& entry : copy.entries) {
    if (entry.node == kNoNode || entry.position >= num_good) continue;
    NodeId const parent = index_.parent(entry.node);
    if (PrefixIndex::is_root(parent) || is_backed(parent)) back(entry.node, regions_.hold(entry.node), entry.block, kNoRequest);
  }
  drop_copy(copy);
  Region* const region = regions_.find(claim);
  if (region == nullptr || region->mode == ClaimMode::kAway) return 0;
  region->copy = kNoCopy;
  if (num_good < region->predicate_end || !is_backed(region->anchor())) {
    leave(*region, static_cast<std::uint32_t>(region->nodes.size()), stopped);
    return 0;
  }
  region->predicate_true = true;
  return record_claim(EventKind::kClaimRestored, *region, survival(*region));
}

// Ends the holds of a copy; nodes it was to fill and did not are reserved again.
void BlockLedger::drop_copy(HeldCopy const& copy) {
  for (std::size_t i = copy.entries.size(); i-- > 0;) {
    HeldCopy::Entry const& entry = copy.entries[i];
    pool_.release(entry.block);
    bool const fills = copy.direction == HeldCopy::Direction::kRestore && entry.node != kNoNode;
    if (fills && !is_backed(entry.node)) reserve_again(entry.node);
  }
}

std::uint64_t BlockLedger::end_in_harm(ClaimId claim, std::uint16_t cause, std::vector<Filling>& stopped) {
  Region const& region = *regions_.find(claim);
  std::uint64_t const sequence = record_claim(EventKind::kClaimHarmed, region, survival(region), kNoRequest, cause, true);
  release_region(claim, AfterEnd::kForget, stopped);
  return sequence;
}

}  // namespace residentkv
