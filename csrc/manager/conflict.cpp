#include "manager/conflict.hpp"

#include <algorithm>
#include <numeric>

namespace residentkv {

Conflict::Conflict(BlockManager& manager, Demand const& demand) : Conflict(manager, demand, Rule::kAdmission) {
  decision_.outcome = manager.judge(decision_);
  find_blocking();
}

Conflict::Conflict(BlockManager& manager, RowId id, std::uint32_t num_tokens)
    : Conflict(manager, manager.demand_of(id, num_tokens),
               manager.requests_.row(id).status == RequestStatus::kRunning ? Rule::kGrowth : Rule::kResume) {
  if (rule_ == Rule::kGrowth) {
    auto const num_held = static_cast<std::uint32_t>(manager.requests_.request(id).blocks.size());
    std::uint32_t const end = blocks_for(std::uint64_t{manager.requests_.row(id).num_planned} + num_tokens, manager.options_.block_size);
    takes_only(end > num_held ? end - num_held : 0);
    decision_.outcome = manager.judge(decision_);
  } else {
    decision_.outcome = decision_.new_blocks > decision_.available_blocks ? Outcome::kDeferred : Outcome::kAdmitted;
  }
  find_blocking();
}

Conflict::Conflict(BlockManager& manager, ForkOf fork) : Conflict(manager, manager.demand_of(fork.parent, 0), Rule::kGrowth) {
  takes_only(manager.requests_.row(fork.parent).num_written % manager.options_.block_size != 0 ? 1 : 0);
  decision_.outcome = manager.judge(decision_);
  find_blocking();
}

Conflict::Conflict(BlockManager& manager, Demand const& demand, Rule rule)
    : manager_(&manager), rule_(rule), version_(manager.version_), stamp_(++manager.num_conflicts_) {
  BlockManager::Look const look = manager.look(demand);
  decision_ = look.decision;
  num_reused_ = look.num_reused;
  chain_ = manager.nodes_;
}

// The request holds its chain already; only `num_blocks` are new.
void Conflict::takes_only(std::uint32_t num_blocks) {
  decision_.num_filled_blocks = 0;
  decision_.new_blocks = num_blocks;
  decision_.available_blocks = manager_->ledger_.pool().num_available();
}

void Conflict::find_blocking() {
  if (decision_.outcome != Outcome::kRefused && decision_.outcome != Outcome::kDeferred) return;
  BlockLedger& ledger = manager_->ledger_;
  std::uint32_t before = 0;
  for (std::size_t i = 0; i < chain_.size(); ++i) {
    NodeHold* const hold = ledger.regions().hold(chain_[i]);
    if (hold == nullptr) break;  // claims cover leading parts of a chain
    bool const is_used = rule_ != Rule::kGrowth && (i < num_reused_ || !ledger.is_backed(chain_[i]));
    stamp(*hold, true, is_used, before);
    before = hold->path_blocks;
  }
  std::vector<std::pair<std::int32_t, ClaimId>> found;
  for (auto const& [claim, region] : ledger.regions().all()) {
    if (region.mode != ClaimMode::kProtecting) continue;
    stamp_path(region.nodes.back());
    std::uint32_t const blocks = ledger.regions().hold(region.nodes.back())->path_blocks;
    if (blocks > 0) found.emplace_back(static_cast<std::int32_t>(blocks), claim);
  }
  std::ranges::stable_sort(found, std::ranges::greater{}, &std::pair<std::int32_t, ClaimId>::first);
  for (auto const& [blocks, claim] : found) {
    blocks_.push_back(blocks);
    claims_.push_back(claim);
  }
}

void Conflict::stamp(NodeHold& hold, bool is_on_chain, bool is_usable_by_request, std::uint32_t blocks_before) {
  BlockLedger const& ledger = manager_->ledger_;
  bool const is_idle = ledger.is_backed(hold.node) ? ledger.pool().ref_count(ledger.index().block(hold.node)) == 0 : hold.filler == kNoRow;
  hold.stamp = stamp_;
  hold.num_ended = 0;
  hold.blocks_union = hold.is_protected() && !is_on_chain;
  hold.blocks_available = hold.is_protected() && is_idle && !(is_on_chain && is_usable_by_request);
  hold.path_blocks = blocks_before + (decision_.outcome == Outcome::kRefused ? hold.blocks_union : hold.blocks_available);
}

// Counts along the path from the nearest node already counted down to `end`.
void Conflict::stamp_path(NodeId end) {
  BlockLedger& ledger = manager_->ledger_;
  path_.clear();
  std::uint32_t before = 0;
  for (NodeId node = end; !PrefixIndex::is_root(node); node = ledger.index().parent(node)) {
    NodeHold const* const hold = ledger.regions().hold(node);
    if (hold->stamp == stamp_) {
      before = hold->path_blocks;
      break;
    }
    path_.push_back(node);
  }
  for (std::size_t i = path_.size(); i-- > 0;) {
    NodeHold& hold = *ledger.regions().hold(path_[i]);
    stamp(hold, false, false, before);
    before = hold.path_blocks;
  }
}

bool Conflict::fits() const noexcept {
  bool const stays = rule_ == Rule::kResume || decision_.protected_union_peak_blocks - gained_union_ <= manager_->options_.usable_blocks;
  return stays && decision_.peak_blocks <= manager_->options_.usable_blocks &&
         decision_.new_blocks <= decision_.available_blocks + gained_available_;
}

void Conflict::set_ended(ClaimId claim, std::int32_t change) {
  BlockLedger& ledger = manager_->ledger_;
  for (NodeId const node : ledger.regions().find(claim)->nodes) {
    NodeHold& hold = *ledger.regions().hold(node);
    bool const was_free = hold.num_ended == hold.num_protecting;
    hold.num_ended += static_cast<std::uint32_t>(change);
    bool const is_free = hold.num_ended == hold.num_protecting;
    if (was_free == is_free) continue;
    gained_union_ += is_free ? hold.blocks_union : -std::uint32_t{hold.blocks_union};
    gained_available_ += is_free ? hold.blocks_available : -std::uint32_t{hold.blocks_available};
  }
}

std::vector<ClaimId> Conflict::sufficient(std::span<ClaimId const> order) {
  RKV_REQUIRE(version_ == manager_->version_, "the manager changed after this conflict was computed; ask again");
  RKV_REQUIRE(stamp_ == manager_->num_conflicts_, "another conflict was computed after this one; ask again");
  for (ClaimId const claim : order) {
    Region const& region = manager_->live_region(claim);
    RKV_REQUIRE(region.mode == ClaimMode::kProtecting, "claim ", index_of(claim), " protects nothing");
    for (NodeId const node : region.nodes) {
      if (manager_->ledger_.regions().hold(node)->stamp != stamp_) stamp_path(node);
    }
  }
  gained_union_ = 0;
  gained_available_ = 0;
  std::vector<ClaimId> chosen;
  for (ClaimId const claim : order) {
    if (fits()) break;
    chosen.push_back(claim);
    set_ended(claim, 1);
  }
  bool const enough = fits();
  std::vector<ClaimId> needed;
  for (std::size_t i = chosen.size(); i-- > 0;) {
    set_ended(chosen[i], -1);
    if (!enough || fits()) continue;
    set_ended(chosen[i], 1);
    needed.push_back(chosen[i]);
  }
  for (ClaimId const claim : needed) set_ended(claim, -1);
  std::ranges::reverse(needed);
  return needed;
}

}  // namespace residentkv
