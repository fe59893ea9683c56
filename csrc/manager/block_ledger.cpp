#include "manager/block_ledger.hpp"

#include <algorithm>

namespace residentkv {

BlockLedger::BlockLedger(Options options)
    : options_(options),
      pool_({.usable_blocks = options.usable_blocks, .null_block = options.null_block}),
      index_({.block_size = options.block_size, .expected_nodes = options.usable_blocks, .hash_seed = options.hash_seed}),
      events_({.block_events = options.block_events, .retain = options.retain_events}) {
  regions_.expect_nodes(options.usable_blocks);
}

Retention BlockLedger::retention_of(NodeHold const* hold) const noexcept {
  if (hold == nullptr) return Retention::kCached;
  if (hold->is_protected()) return Retention::kResident;
  return hold->num_soft > 0 ? Retention::kSoft : Retention::kCached;
}

// --- for requests ---

BlockId BlockLedger::take(Reservation& from, RequestKey request) {
  BlockPool::Taken const taken = pool_.take(from);
  if (taken.victim_content != kNoNode) unlink_victim(taken, request);
  return taken.block;
}

BlockId BlockLedger::take_to_fill(NodeId node, RowId filler, RequestKey request) {
  RKV_INVARIANT(is_reserved(node), "INV-4: node ", index_of(node), " has no reservation to draw on");
  BlockId const block = take(claims_reservation_, request);
  regions_.hold(node)->filler = filler;
  ++num_filling_;
  return block;
}

void BlockLedger::reserve_again(NodeId node) {
  NodeHold* const hold = regions_.hold(node);
  RKV_INVARIANT(hold != nullptr && hold->filler != kNoRow && hold->is_protected(), "INV-4: node ", index_of(node), " is not being filled");
  hold->filler = kNoRow;
  --num_filling_;
  std::optional<Reservation> again = pool_.reserve(1);
  RKV_INVARIANT(again.has_value(), "INV-2: no room to reserve node ", index_of(node), " again");
  claims_reservation_.absorb(std::move(*again));
}

void BlockLedger::unlink_victim(BlockPool::Taken const& taken, RequestKey request) {
  NodeId const node = taken.victim_content;
  NodeHold* const hold = regions_.hold(node);
  bool const named = hold != nullptr && hold->is_named();
  RKV_INVARIANT(taken.victim_retention != Retention::kResident, "INV-2: block ", index_of(taken.block), " is resident and was evicted");
  RKV_INVARIANT(named || index_.num_children(node) == 0, "INV-5: node ", index_of(node), " was evicted before its children");
  if (events_.wants_block_events()) {
    VictimReason const reason = taken.victim_retention == Retention::kSoft ? VictimReason::kSoftPriorityLru
                                : named                                    ? VictimReason::kBestEffortLru
                                                                           : VictimReason::kUnclaimedLru;
    record_block(EventKind::kVictimSelected, named ? naming_claim(*hold) : kNoClaim, node, taken.block, request,
                 static_cast<std::uint16_t>(reason));
  }
  if (!named) {
    if (hold != nullptr) {
      record_block(EventKind::kBlockLostAfterRelease, hold->ended_claim, node, taken.block, request);
      regions_.drop_hold(node);
    }
    NodeId const parent = index_.parent(node);
    index_.erase(node);
    if (!PrefixIndex::is_root(parent) && !is_backed(parent)) [[unlikely]]
      forget_upwards(parent);
    return;
  }
  index_.set_block(node, kNoBlock);
  for (ClaimId const claim : std::vector<ClaimId>(hold->anchored)) {  // a copy: harm ends the claim
    Region& region = *regions_.find(claim);
    if (region.predicate_true) harm(region, request, 0, survival(region));
  }
}

BlockLedger::Published BlockLedger::publish(NodeId parent, ChainBlock const& content, BlockId block, Absent absent, Parent parent_is,
                                            RequestKey request) {
  NodeId node = parent_is == Parent::kJustCreated ? kNoNode : index_.find(parent, content);
  if (node == kNoNode) {
    if (absent == Absent::kLeave) return {};
    node = index_.insert(parent, content);
    index_.set_block(node, block);
    pool_.set_content(block, node, Retention::kCached);
    return {.node = node, .block = block, .is_new = true, .stopped_filler = kNoRow};
  }
  BlockId const canonical = index_.block(node);
  if (canonical == kNoBlock) {
    NodeHold* const hold = regions_.hold(node);
    RowId const filler = hold != nullptr ? hold->filler : kNoRow;
    back(node, hold, block, request);
    return {.node = node, .block = block, .is_new = false, .stopped_filler = filler};
  }
  if (pool_.ref_count(canonical) == 0 && pool_.retention(canonical) != Retention::kResident && pool_.num_available() == 0) {
    // Holding the idle canonical block as well would use up room that is promised to a claim, until the duplicate is given back. Nobody
    // looks at an idle block, so the newcomer becomes canonical instead.
    Retention const retention = pool_.retention(canonical);
    pool_.clear_content(canonical);
    index_.set_block(node, block);
    pool_.set_content(block, node, retention);
    return {.node = node, .block = block, .is_new = false, .stopped_filler = kNoRow};
  }
  pool_.retain(canonical);
  return {.node = node, .block = canonical, .is_new = false, .stopped_filler = kNoRow};
}

void BlockLedger::back(NodeId node, NodeHold* hold, BlockId block, RequestKey request) {
  if (hold != nullptr && hold->is_protected()) {
    if (hold->filler != kNoRow) {
      hold->filler = kNoRow;
      --num_filling_;
    } else {
      claims_reservation_.forfeit(1);
    }
  }
  index_.set_block(node, block);
  pool_.set_content(block, node, retention_of(hold));
  if (hold == nullptr) return;
  if (events_.wants_block_events()) record_block(EventKind::kBlockMaterialized, naming_claim(*hold), node, block, request);
  for (ClaimId const claim : hold->anchored) {
    Region& region = *regions_.find(claim);
    if (region.predicate_true) continue;
    region.predicate_true = true;
    notices_.push_back({.claim = claim, .kind = EventKind::kClaimMaterialized});
    record_claim(EventKind::kClaimMaterialized, region, survival(region), request);
  }
}

// --- for claims ---

ClaimId BlockLedger::accept(NewRegion const& wanted) {
  Region fresh{.claim = kNoClaim,
               .mode = wanted.mode,
               .predicate_true = false,
               .predicate_start = wanted.predicate_start,
               .predicate_end = wanted.predicate_end,
               .nodes = {wanted.known_nodes.begin(), wanted.known_nodes.end()}};
  std::size_t const footprint = wanted.tokens.size() / options_.block_size;
  NodeId parent = PrefixIndex::root(wanted.root);
  std::uint64_t hash = index_.hash().root(wanted.root);
  for (std::size_t i = 0; i < footprint; ++i) {
    ExtraId const extra = i < wanted.extras.size() ? wanted.extras[i] : kNoExtra;
    std::int32_t const* tokens = &wanted.tokens[i * options_.block_size];
    hash = index_.hash().next(hash, tokens, extra);
    if (i == fresh.nodes.size()) fresh.nodes.push_back(index_.insert(parent, {.tokens = tokens, .extra = extra, .hash = hash}));
    parent = fresh.nodes[i];
  }
  Region& region = regions_.add(std::move(fresh));
  record_claim(EventKind::kClaimAccepted, region, survival(region));
  for (std::size_t i = footprint; i-- > 0;) {  // tail first, so that eviction lists keep children before parents
    NodeHold const& hold = *regions_.hold(region.nodes[i]);
    if (region.mode == ClaimMode::kProtecting) {
      if (hold.num_protecting == 1) protect(region.nodes[i], wanted.fillers[i]);
    } else if (is_backed(region.nodes[i]) && retention_of(&hold) == Retention::kSoft) {
      // Also where it is soft already: an old parent would stand before a child that only now becomes soft.
      pool_.set_retention(index_.block(region.nodes[i]), Retention::kSoft);
    }
  }
  for (NodeId const node : region.nodes) {
    if (is_backed(node)) record_block(EventKind::kBlockMaterialized, region.claim, node, index_.block(node), kNoRequest);
  }
  if (is_backed(region.anchor())) {
    region.predicate_true = true;
    record_claim(EventKind::kClaimMaterialized, region, survival(region));
  }
  return region.claim;
}

void BlockLedger::protect(NodeId node, RowId filler) {
  ++num_protected_;
  if (is_backed(node)) {
    pool_.set_retention(index_.block(node), Retention::kResident);
  } else if (filler != kNoRow) {
    regions_.hold(node)->filler = filler;
    ++num_filling_;
  } else {
    std::optional<Reservation> reservation = pool_.reserve(1);
    RKV_INVARIANT(reservation.has_value(), "INV-2: accepted a claim without room for it");
    claims_reservation_.absorb(std::move(*reservation));
  }
}

std::uint64_t BlockLedger::end(ClaimId claim, EventKind ended_by, std::vector<Filling>& stopped) {
  Region const& region = *regions_.find(claim);
  std::uint64_t const sequence = record_claim(ended_by, region, survival(region), kNoRequest, 0, region.predicate_true);
  release_region(claim, AfterEnd::kReportLosses, stopped);
  return sequence;
}

void BlockLedger::harm(Region& region, RequestKey request, std::uint16_t cause, Survival after) {
  region.predicate_true = false;
  record_claim(EventKind::kClaimHarmed, region, after, request, cause, true);
  notices_.push_back({.claim = region.claim, .kind = EventKind::kClaimHarmed});
  std::vector<Filling> stopped;
  release_region(region.claim, AfterEnd::kForget, stopped);
  RKV_INVARIANT(stopped.empty(), "INV-4: a harmed claim was still being filled");
}

void BlockLedger::release_region(ClaimId claim, AfterEnd after, std::vector<Filling>& stopped) {
  deadlines_.clear(claim);
  Region const region = regions_.remove(claim);
  for (std::size_t i = region.nodes.size(); i-- > 0;) {  // tail first: children enter the eviction list before their parents
    unname(region.nodes[i], claim, region.mode, after, stopped);
  }
}

void BlockLedger::unname(NodeId node, ClaimId claim, ClaimMode mode, AfterEnd after, std::vector<Filling>& stopped) {
  NodeHold& hold = regions_.unname(node, claim, mode);
  BlockId const block = index_.block(node);
  if (mode == ClaimMode::kProtecting && !hold.is_protected()) {
    --num_protected_;
    if (block == kNoBlock && hold.filler != kNoRow) {
      stopped.push_back({.node = node, .row = hold.filler});
      hold.filler = kNoRow;
      --num_filling_;
    } else if (block == kNoBlock) {
      claims_reservation_.forfeit(1);
    }
  }
  if (block != kNoBlock && pool_.retention(block) != retention_of(&hold)) pool_.set_retention(block, retention_of(&hold));
  if (hold.is_named()) return;
  if (is_backed(node) && after == AfterEnd::kReportLosses && events_.wants_block_events()) {
    hold.ended_claim = claim;
    return;
  }
  regions_.drop_hold(node);
  forget_upwards(node);
}

void BlockLedger::forget_upwards(NodeId node) {
  while (!PrefixIndex::is_root(node) && !is_backed(node) && regions_.hold(node) == nullptr && index_.num_children(node) == 0) {
    NodeId const parent = index_.parent(node);
    index_.erase(node);
    node = parent;
  }
}

Survival BlockLedger::survival(Region const& region) const {
  Survival result;
  bool leading = true;
  for (NodeId const node : region.nodes) {
    bool const survives = is_backed(node);
    leading = leading && survives;
    result.num_surviving += survives;
    result.num_leading += leading;
  }
  return result;
}

// --- events ---

// A live claim that names the node: the latest, or after that one ended, the latest that is left.  O(1), O(claims) once after such an end.
ClaimId BlockLedger::naming_claim(NodeHold& hold) {
  std::uint32_t const position = index_.position(hold.node);
  auto const& regions = regions_.all();
  for (auto region = regions.rbegin(); hold.last_claim == kNoClaim && region != regions.rend(); ++region) {
    std::vector<NodeId> const& nodes = region->second.nodes;
    if (position < nodes.size() && nodes[position] == hold.node) hold.last_claim = region->first;
  }
  return hold.last_claim;
}

std::uint64_t BlockLedger::record_claim(EventKind kind, Region const& region, Survival survival, RequestKey request, std::uint16_t cause,
                                        bool before) {
  return events_.record({.sequence = 0,
                         .timestamp_ns = now_ns_,
                         .request = request,
                         .claim = region.claim,
                         .block = -1,
                         .position = -1,
                         .required = static_cast<std::int32_t>(region.nodes.size()),
                         .materialized = static_cast<std::int32_t>(survival.num_surviving),
                         .leading = static_cast<std::int32_t>(survival.num_leading),
                         .kind = kind,
                         .cause = cause,
                         .predicate_before = before,
                         .predicate_after = region.predicate_true,
                         .is_protected = region.mode == ClaimMode::kProtecting,
                         .padding = 0});
}

void BlockLedger::record_block(EventKind kind, ClaimId claim, NodeId node, BlockId block, RequestKey request, std::uint16_t cause) {
  if (!events_.wants_block_events()) return;
  events_.record({.sequence = 0,
                  .timestamp_ns = now_ns_,
                  .request = request,
                  .claim = claim,
                  .block = static_cast<std::int32_t>(index_of(block)),
                  .position = static_cast<std::int32_t>(index_.position(node)),
                  .required = -1,
                  .materialized = -1,
                  .leading = -1,
                  .kind = kind,
                  .cause = cause,
                  .predicate_before = 0,
                  .predicate_after = 0,
                  .is_protected = is_protected(node),
                  .padding = 0});
}

}  // namespace residentkv
