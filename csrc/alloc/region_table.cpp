#include "alloc/region_table.hpp"

#include <algorithm>

#include "core/check.hpp"

namespace residentkv {

Region& RegionTable::add(Region region) {
  region.claim = ClaimId{next_claim_++};
  for (NodeId const node : region.nodes) name(node, region);
  anchor(region.anchor(), region.claim);
  return regions_.emplace_hint(regions_.end(), region.claim, std::move(region))->second;
}

Region RegionTable::remove(ClaimId claim) {
  auto const found = regions_.find(claim);
  RKV_INVARIANT(found != regions_.end(), "INV-6: claim ", index_of(claim), " has no region");
  Region region = std::move(found->second);
  regions_.erase(found);
  unanchor(region.anchor(), claim);
  return region;
}

NodeHold& RegionTable::name(NodeId node, Region const& region) {
  NodeHold& hold = hold_or_make(node);
  ++hold.count(region.mode);
  hold.last_claim = region.claim;
  hold.ended_claim = kNoClaim;
  return hold;
}

NodeHold& RegionTable::unname(NodeId node, ClaimId claim, ClaimMode mode) {
  NodeHold* const hold = this->hold(node);
  RKV_INVARIANT(hold != nullptr && hold->count(mode) > 0, "INV-6: node ", index_of(node), " is not named by claim ", index_of(claim));
  --hold->count(mode);
  if (hold->last_claim == claim) hold->last_claim = kNoClaim;
  return *hold;
}

NodeHold& RegionTable::rename(NodeId node, Region const& region, ClaimMode to) {
  NodeHold& hold = unname(node, region.claim, region.mode);
  ++hold.count(to);
  hold.last_claim = region.claim;
  return hold;
}

void RegionTable::anchor(NodeId node, ClaimId claim) {
  std::vector<ClaimId>& anchored = hold(node)->anchored;
  anchored.insert(std::ranges::upper_bound(anchored, claim), claim);
}

void RegionTable::unanchor(NodeId node, ClaimId claim) {
  std::vector<ClaimId>& anchored = hold(node)->anchored;
  auto const found = std::ranges::lower_bound(anchored, claim);
  RKV_INVARIANT(found != anchored.end() && *found == claim, "INV-6: claim ", index_of(claim), " is not anchored where it should be");
  anchored.erase(found);
}

NodeHold& RegionTable::hold_or_make(NodeId node) {
  if (NodeHold* const existing = hold(node)) return *existing;
  if (index_of(node) >= hold_of_node_.size()) hold_of_node_.grow(std::size_t{index_of(node)} + index_of(node) / 2 + 16);
  if (free_holds_.empty()) {
    holds_.emplace_back();
    free_holds_.push_back(static_cast<std::uint32_t>(holds_.size() - 1));
  }
  std::uint32_t const slot = free_holds_.back();
  free_holds_.pop_back();
  holds_[slot] = NodeHold{};
  holds_[slot].node = node;
  hold_of_node_[index_of(node)] = slot + 1;
  return holds_[slot];
}

void RegionTable::drop_hold(NodeId node) noexcept {
  std::uint32_t const slot = hold_of_node_[index_of(node)] - 1;
  hold_of_node_[index_of(node)] = 0;
  holds_[slot].node = kNoNode;
  free_holds_.push_back(slot);
}

void RegionTable::check() const {
  std::vector<NodeHold> counted(holds_.size());
  for (auto const& [claim, region] : regions_) {
    RKV_INVARIANT(region.predicate_start < region.predicate_end && region.predicate_end <= region.nodes.size(), "INV-6: claim ",
                  index_of(claim), " has no predicate in its footprint");
    for (NodeId const node : region.nodes) {
      NodeHold const* const hold = this->hold(node);
      RKV_INVARIANT(hold != nullptr && hold->node == node, "INV-6: node ", index_of(node), " of claim ", index_of(claim), " is not held");
      ++counted[static_cast<std::size_t>(hold - holds_.data())].count(region.mode);
    }
    NodeHold const* const anchor = hold(region.anchor());
    RKV_INVARIANT(anchor != nullptr && std::ranges::count(anchor->anchored, claim) == 1, "INV-6: claim ", index_of(claim),
                  " is not anchored");
  }
  for (std::size_t i = 0; i < holds_.size(); ++i) {
    NodeHold const& hold = holds_[i];
    if (hold.node == kNoNode) continue;
    RKV_INVARIANT(hold.num_protecting == counted[i].num_protecting && hold.num_soft == counted[i].num_soft &&
                      hold.num_best_effort == counted[i].num_best_effort && hold.num_away == counted[i].num_away,
                  "INV-6: node ", index_of(hold.node), " miscounts the claims that name it");
    RKV_INVARIANT(hold.is_named() || hold.ended_claim != kNoClaim, "INV-6: node ", index_of(hold.node), " is held for nobody");
  }
}

}  // namespace residentkv
