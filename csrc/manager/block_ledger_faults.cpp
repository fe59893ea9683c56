// Losing content: invalidation of bad blocks, and dropping the whole index.
#include <algorithm>

#include "manager/block_ledger.hpp"

namespace residentkv {

// Note [Invalidation]
// Rationale: content that was declared bad must never be matched again, nor anything computed from it. A materialized claim that can not be
//   reached past a bad block has lost what it was promised: it is harmed, once, with the cause. A claim that does not need the bad part yet
//   (still being filled, or bad only behind its predicate) keeps its promise: the lost part is planned anew.
// Approach: harm is recorded first, while everything is still in place. Then regions let go of the lost nodes (the bad ones and their
//   descendants), which are forgotten and their blocks freed; the room this frees is the room that the new plans reserve, so an
//   invalidation never asks for more than it gives.
// Limitations: linear in the number of nodes; a fault is rare and a list of children in every node would not be.

std::vector<NodeId> BlockLedger::with_descendants(std::span<NodeId const> bad) const {
  enum : std::uint8_t { kUnknown, kInside, kOutside };
  std::vector<std::uint8_t> state(index_.node_limit(), kUnknown);
  for (NodeId const node : bad) state[index_of(node)] = kInside;
  std::vector<NodeId> result;
  std::vector<NodeId> path;
  for (std::uint32_t i = 0; i < index_.node_limit(); ++i) {
    if (!index_.exists(NodeId{i})) continue;
    path.clear();
    NodeId node{i};
    while (!PrefixIndex::is_root(node) && state[index_of(node)] == kUnknown) {
      path.push_back(node);
      node = index_.parent(node);
    }
    std::uint8_t const verdict = PrefixIndex::is_root(node) ? static_cast<std::uint8_t>(kOutside) : state[index_of(node)];
    for (NodeId const member : path) state[index_of(member)] = verdict;
    if (state[i] == kInside) result.push_back(NodeId{i});
  }
  std::ranges::sort(result, {}, [this](NodeId node) { return std::pair(index_.position(node), index_of(node)); });
  return result;
}

// The part of a claim that an invalidation took, with everything needed to plan it again.
struct BlockLedger::Replan {
  ClaimId claim;
  std::size_t from;                  // first lost position
  NodeId parent;                     // of the first lost node
  std::uint64_t parent_hash;         // chain hash up to `parent`
  std::vector<std::int32_t> tokens;  // of the lost nodes
  std::vector<ExtraId> extras;       // one reference each
};

BlockLedger::Replan BlockLedger::take_out(Region& region, std::size_t from, std::vector<Filling>& stopped) {
  Replan replan{.claim = region.claim,
                .from = from,
                .parent = index_.parent(region.nodes[from]),
                .parent_hash = index_.hash().root(PrefixIndex::root_id(index_.parent(region.nodes[0]))),
                .tokens = {},
                .extras = {}};
  for (std::size_t i = 0; i < from; ++i) {
    replan.parent_hash = index_.hash().next(replan.parent_hash, index_.tokens(region.nodes[i]).data(), index_.extra(region.nodes[i]));
  }
  for (std::size_t i = from; i < region.nodes.size(); ++i) {
    std::span<std::int32_t const> const tokens = index_.tokens(region.nodes[i]);
    replan.tokens.insert(replan.tokens.end(), tokens.begin(), tokens.end());
    replan.extras.push_back(index_.extra(region.nodes[i]));
    index_.extra_keys().retain(replan.extras.back());
  }
  if (region.predicate_end > from) regions_.unanchor(region.anchor(), region.claim);
  for (std::size_t i = region.nodes.size(); i-- > from;) {
    unname(region.nodes[i], region.claim, region.mode, AfterEnd::kForget, stopped);
    region.nodes[i] = kNoNode;
  }
  return replan;
}

void BlockLedger::put_back(Replan const& replan) {
  Region& region = *regions_.find(replan.claim);
  NodeId parent = replan.parent;
  std::uint64_t hash = replan.parent_hash;
  for (std::size_t i = 0; i < replan.extras.size(); ++i) {
    std::int32_t const* tokens = &replan.tokens[i * options_.block_size];
    hash = index_.hash().next(hash, tokens, replan.extras[i]);
    ChainBlock const content{.tokens = tokens, .extra = replan.extras[i], .hash = hash};
    NodeId node = index_.find(parent, content);
    if (node == kNoNode) node = index_.insert(parent, content);
    region.nodes[replan.from + i] = node;
    NodeHold const& hold = regions_.name(node, region);
    if (region.mode == ClaimMode::kProtecting && hold.num_protecting == 1) protect(node, kNoRow);
    index_.extra_keys().release(replan.extras[i]);
    parent = node;
  }
  if (region.predicate_end > replan.from) regions_.anchor(region.anchor(), region.claim);
}

void BlockLedger::invalidate(std::span<NodeId const> bad, std::span<NodeId const> lost, std::uint16_t cause) {
  std::vector<std::uint8_t> is_bad(index_.node_limit(), 0);
  std::vector<std::uint8_t> is_lost(index_.node_limit(), 0);
  for (NodeId const node : bad) is_bad[index_of(node)] = 1;
  for (NodeId const node : lost) is_lost[index_of(node)] = 1;
  auto const first_lost = [&](Region const& region) {
    auto const found = std::ranges::find_if(region.nodes, [&](NodeId node) { return is_lost[index_of(node)] != 0; });
    return static_cast<std::size_t>(found - region.nodes.begin());
  };

  std::vector<ClaimId> harmed;
  std::vector<ClaimId> replanned;
  for (auto const& [claim, region] : regions_.all()) {
    std::size_t const first = first_lost(region);
    if (first == region.nodes.size()) continue;
    (region.predicate_true && first < region.predicate_end ? harmed : replanned).push_back(claim);
  }
  for (ClaimId const claim : harmed) {
    Region& region = *regions_.find(claim);
    Survival after;  // descendants of a bad block survive, though nobody reaches them
    bool leading = true;
    for (NodeId const node : region.nodes) {
      bool const survives = is_backed(node) && is_bad[index_of(node)] == 0;
      leading = leading && survives;
      after.num_surviving += survives;
      after.num_leading += leading;
    }
    harm(region, kNoRequest, cause, after);
  }
  std::vector<Filling> stopped;
  std::vector<Replan> replans;
  for (ClaimId const claim : replanned) {
    Region& region = *regions_.find(claim);
    replans.push_back(take_out(region, first_lost(region), stopped));
  }
  RKV_INVARIANT(stopped.empty(), "INV-4: a lost node was still being filled");
  forget_lost(lost);
  for (Replan const& replan : replans) put_back(replan);
}

// Forgets nodes that no claim names any more, children before parents, and frees their blocks.
void BlockLedger::forget_lost(std::span<NodeId const> lost) {
  for (std::size_t i = lost.size(); i-- > 0;) {
    NodeId const node = lost[i];
    if (!index_.exists(node)) continue;  // planned only: went when its claim let go of it
    if (NodeHold const* const hold = regions_.hold(node); hold != nullptr) {
      record_block(EventKind::kBlockLostAfterRelease, hold->ended_claim, node, index_.block(node), kNoRequest);
      regions_.drop_hold(node);
    }
    BlockId const block = index_.block(node);
    index_.set_block(node, kNoBlock);
    pool_.clear_content(block);
    index_.erase(node);
  }
}

void BlockLedger::drop_index() {
  RKV_INVARIANT(regions_.all().empty(), "INV-6: the index was dropped under ", regions_.all().size(), " claims");
  std::vector<NodeId> nodes;
  for (std::uint32_t i = 0; i < index_.node_limit(); ++i) {
    if (index_.exists(NodeId{i})) nodes.push_back(NodeId{i});
  }
  std::ranges::sort(nodes, {}, [this](NodeId node) { return std::pair(index_.position(node), index_of(node)); });
  forget_lost(nodes);
}

}  // namespace residentkv
