// Claims that leave the device and come back. Copies themselves are the caller's: this holds the blocks they touch, and keeps the promises.
#include <algorithm>
#include <utility>

#include "manager/block_manager.hpp"

namespace residentkv {

std::vector<bool> BlockManager::can_offload(std::span<ClaimId const> claims) {
  std::vector<bool> result;
  for (ClaimId const claim : claims) {
    Region const& region = live_region(claim);
    NodeHold const& anchor = *ledger_.regions().hold(region.anchor());
    // Holds cover leading prefixes, so if any predicate block can leave, the last one can.
    result.push_back(region.mode == ClaimMode::kProtecting && region.predicate_true && region.copy == kNoCopy &&
                     anchor.num_protecting == 1 && ledger_.pool().ref_count(ledger_.index().block(region.anchor())) == 0);
  }
  return result;
}

CopyId BlockManager::begin_offload(ClaimId claim) {
  Region& region = live_region(claim);
  RKV_REQUIRE(region.mode == ClaimMode::kProtecting && region.predicate_true, "claim ", index_of(claim), " is not materialized here");
  RKV_REQUIRE(region.copy == kNoCopy, "claim ", index_of(claim), " is being copied already");
  ++version_;
  HeldCopy copy{.claim = claim, .direction = HeldCopy::Direction::kOffload, .entries = {}};
  for (std::uint32_t i = 0; i < region.nodes.size() && ledger_.is_backed(region.nodes[i]); ++i) {
    BlockId const block = ledger_.index().block(region.nodes[i]);
    ledger_.pool().retain(block);
    copy.entries.push_back({.position = i, .node = kNoNode, .block = block});
  }
  region.copy = copies_.add(std::move(copy));
  ledger_.check_accounting();
  return region.copy;
}

std::uint64_t BlockManager::finish_offload(CopyId id, std::int64_t now_ns) {
  HeldCopy const& held = copies_.find(id);
  RKV_REQUIRE(held.direction == HeldCopy::Direction::kOffload, "copy ", index_of(id), " is a restore");
  static_cast<void>(live_region(held.claim));
  ledger_.set_now(now_ns);
  ClaimId const claim = held.claim;
  drop_copy(id);
  Region const& region = *ledger_.regions().find(claim);
  if (ledger_.first_leaving(region) >= region.predicate_end) return 0;
  std::vector<BlockLedger::Filling> stopped;
  std::uint64_t const sequence = ledger_.offload(claim, stopped);
  stop_filling(stopped);
  ledger_.check_accounting();
  return sequence;
}

ClaimId BlockManager::needed_restore(Content const& content) {
  nodes_.clear();
  hashes_.clear();
  ledger_.index().walk(content.root, content.tokens, content.extras, nodes_, hashes_);
  std::size_t const limit = std::min<std::size_t>(nodes_.size(), reusable_blocks(content.tokens.size(), options_.block_size));
  auto const first_missing = std::ranges::find_if_not(nodes_, [this](NodeId node) { return ledger_.is_backed(node); });
  auto needed = static_cast<std::size_t>(first_missing - nodes_.begin());
  if (needed >= limit) return kNoClaim;
  for (auto const& [id, copy] : copies_.all()) {
    if (copy.direction == HeldCopy::Direction::kRestore &&
        std::ranges::find(copy.entries, nodes_[needed], &HeldCopy::Entry::node) != copy.entries.end()) {
      return copy.claim;
    }
  }
  auto const is_away = [this](NodeId node) {
    NodeHold const* const hold = ledger_.regions().hold(node);
    return hold != nullptr && hold->num_away > 0;
  };
  if (!is_away(nodes_[needed])) return kNoClaim;
  while (needed < limit && (ledger_.is_backed(nodes_[needed]) || is_away(nodes_[needed]))) ++needed;
  // The smallest claim that brings back all of it; a claim that covers the last such node covers those before.
  Region const* best = nullptr;
  while (best == nullptr) {
    --needed;  // the last may be backed beyond every offloaded claim
    for (auto const& [claim, region] : ledger_.regions().all()) {
      if (region.mode != ClaimMode::kAway || region.nodes.size() <= needed || region.nodes[needed] != nodes_[needed]) continue;
      if (best == nullptr || region.nodes.size() < best->nodes.size()) best = &region;
    }
  }
  return best->claim;
}

bool BlockManager::has_room_to_restore(Region const& region, std::uint32_t max_protected_blocks) {
  BlockPool const& pool = ledger_.pool();
  std::uint32_t newly_protected = 0;
  std::uint32_t newly_idle = 0;      // cached blocks that become resident
  std::uint32_t newly_reserved = 0;  // missing blocks
  for (NodeId const node : region.nodes) {
    if (ledger_.is_protected(node)) continue;
    ++newly_protected;
    if (ledger_.is_backed(node)) {
      newly_idle += pool.ref_count(ledger_.index().block(node)) == 0;
    } else {
      ++newly_reserved;
    }
  }
  std::uint32_t const together = ledger_.num_protected() + newly_protected;
  std::uint32_t const with_held = pool.num_resident_idle() + newly_idle + pool.num_reserved() + newly_reserved + pool.num_active();
  if (together > max_protected_blocks || together > options_.usable_blocks || with_held > options_.usable_blocks) return false;
  for (std::uint32_t i = 0; i < requests_.row_limit(); ++i) {
    RowId const id{i};
    if (!RequestTable::is_admitted(requests_.row(id).status)) continue;
    std::uint32_t const peak = requests_.request(id).peak_blocks;
    if (together + peak <= options_.usable_blocks) continue;
    Demand const demand = demand_of(id, 0);
    nodes_.clear();
    hashes_.clear();
    ledger_.index().walk(demand.content.root, demand.content.tokens, demand.content.extras, nodes_, hashes_);
    std::uint32_t shared = 0;
    while (shared < nodes_.size() &&
           (ledger_.is_protected(nodes_[shared]) || (shared < region.nodes.size() && region.nodes[shared] == nodes_[shared]))) {
      ++shared;
    }
    if (together + peak - shared > options_.usable_blocks) return false;
  }
  return true;
}

RestoreAnswer BlockManager::begin_restore(ClaimId claim, std::uint32_t num_restorable, std::uint32_t max_protected_blocks,
                                          std::int64_t now_ns) {
  Region& region = live_region(claim);
  RKV_REQUIRE(region.mode == ClaimMode::kAway, "claim ", index_of(claim), " is not offloaded");
  RKV_REQUIRE(num_restorable >= region.predicate_end && num_restorable <= region.nodes.size(), "num_restorable=", num_restorable,
              " must be between the predicate's end ", region.predicate_end, " and the footprint ", region.nodes.size());
  ledger_.set_now(now_ns);
  std::uint32_t num_missing = 0;
  for (std::uint32_t i = 0; i < num_restorable; ++i) {
    NodeHold const& hold = *ledger_.regions().hold(region.nodes[i]);
    if (hold.filler != kNoRow) return {.outcome = RestoreOutcome::kBusy};
    num_missing += !ledger_.is_backed(region.nodes[i]);
  }
  Moment moment = moment_now();
  moment.allocations += num_missing;
  if (crosses_deadline(moment)) return {.outcome = RestoreOutcome::kDeadlineDue};
  if (!has_room_to_restore(region, max_protected_blocks)) return {.outcome = RestoreOutcome::kNoRoom};
  ++version_;
  BlockLedger::Return back = ledger_.come_back(region, num_restorable);
  region.copy = copies_.add({.claim = claim, .direction = HeldCopy::Direction::kRestore, .entries = std::move(back.entries)});
  ledger_.check_accounting();
  return {.outcome = RestoreOutcome::kStarted, .copy = region.copy, .sequence = back.sequence};
}

std::uint64_t BlockManager::finish_restore(CopyId id, std::uint32_t num_good, std::int64_t now_ns) {
  HeldCopy const& held = copies_.find(id);
  RKV_REQUIRE(held.direction == HeldCopy::Direction::kRestore, "copy ", index_of(id), " is an offload");
  ledger_.set_now(now_ns);
  ++version_;
  HeldCopy const copy = copies_.remove(id);
  std::vector<BlockLedger::Filling> stopped;
  std::uint64_t const sequence = ledger_.settle_restore(copy.claim, copy, num_good, stopped);
  stop_filling(stopped);
  ledger_.check_accounting();
  return sequence;
}

void BlockManager::drop_copy(CopyId id) {
  ++version_;
  HeldCopy const copy = copies_.remove(id);
  if (copy.direction == HeldCopy::Direction::kRestore) {
    std::vector<BlockLedger::Filling> stopped;
    static_cast<void>(ledger_.settle_restore(copy.claim, copy, 0, stopped));
    stop_filling(stopped);
  } else {
    ledger_.drop_copy(copy);
    if (Region* const region = ledger_.regions().find(copy.claim); region != nullptr) region->copy = kNoCopy;
  }
  ledger_.check_accounting();
}

std::uint64_t BlockManager::harm_claim(ClaimId claim, std::uint16_t cause, std::int64_t now_ns) {
  Region const& region = live_region(claim);
  RKV_REQUIRE(region.mode == ClaimMode::kAway || region.is_restoring(), "claim ", index_of(claim),
              " is on the device: only what is offloaded can fail to come back");
  ledger_.set_now(now_ns);
  ++version_;
  std::vector<BlockLedger::Filling> stopped;
  std::uint64_t const sequence = ledger_.end_in_harm(claim, cause, stopped);
  stop_filling(stopped);
  ledger_.check_accounting();
  return sequence;
}

bool BlockManager::reuses(RowId row, ClaimId claim) {
  Region const& region = live_region(claim);
  std::vector<NodeId> const& nodes = requests_.request(row).nodes;
  return nodes.size() >= region.predicate_end && nodes[region.predicate_end - 1] == region.anchor();
}

// INV-3 and INV-11, and one holder more for every block of a copy.
void BlockManager::check_copies(std::vector<std::uint32_t>& holders) const {
  std::uint32_t num_restored = 0;
  for (auto const& [id, copy] : copies_.all()) {
    for (HeldCopy::Entry const& entry : copy.entries) {
      ++holders[index_of(entry.block)];
      RKV_INVARIANT(ledger_.pool().ref_count(entry.block) > 0, "INV-3: block ", index_of(entry.block), " of copy ", index_of(id),
                    " is held by nobody");
      if (copy.direction == HeldCopy::Direction::kOffload) continue;
      RKV_INVARIANT(ledger_.pool().content(entry.block) == kNoNode, "INV-11: block ", index_of(entry.block), " is restored and in use");
      if (entry.node == kNoNode) continue;
      ++num_restored;
      NodeHold const* const hold = ledger_.regions().hold(entry.node);
      RKV_INVARIANT(hold != nullptr && hold->filler == kRestorer && !ledger_.is_backed(entry.node), "INV-11: copy ", index_of(id),
                    " restores node ", index_of(entry.node), " for nobody");
    }
  }
  std::uint32_t num_fills = 0;
  for (std::uint32_t i = 0; i < ledger_.index().node_limit(); ++i) {
    NodeHold const* const hold = ledger_.index().exists(NodeId{i}) ? ledger_.regions().hold(NodeId{i}) : nullptr;
    num_fills += hold != nullptr && hold->filler == kRestorer;
  }
  RKV_INVARIANT(num_fills == num_restored, "INV-11: ", num_fills, " nodes are being restored by copies of ", num_restored);
  for (auto const& [claim, region] : ledger_.regions().all()) {
    if (region.copy == kNoCopy) continue;
    auto const found = copies_.all().find(region.copy);
    RKV_INVARIANT(found != copies_.all().end() && found->second.claim == claim, "INV-11: claim ", index_of(claim), " waits for no copy");
  }
}

}  // namespace residentkv
