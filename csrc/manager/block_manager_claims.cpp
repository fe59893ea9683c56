#include <algorithm>
#include <cstring>

#include "manager/block_manager.hpp"

namespace residentkv {

namespace {

// Leading blocks on which two contents of one block size agree, at most `limit`.
std::uint32_t num_common_blocks(Content const& a, Content const& b, std::uint32_t limit, std::uint32_t block_size) {
  if (a.root != b.root) return 0;
  auto const num_full = static_cast<std::uint32_t>(std::min(a.tokens.size(), b.tokens.size()) / block_size);
  std::uint32_t const most = std::min(limit, num_full);
  auto const extra = [](Content const& content, std::uint32_t i) { return i < content.extras.size() ? content.extras[i] : kNoExtra; };
  std::uint32_t i = 0;
  while (i < most && extra(a, i) == extra(b, i) &&
         std::memcmp(&a.tokens[std::size_t{i} * block_size], &b.tokens[std::size_t{i} * block_size], std::size_t{block_size} * 4) == 0) {
    ++i;
  }
  return i;
}

}  // namespace

Region& BlockManager::live_region(ClaimId claim) {
  Region* const region = ledger_.regions().find(claim);
  RKV_REQUIRE(region != nullptr, "claim ", index_of(claim), " is unknown or has ended");
  return *region;
}

// Leading nodes of the row's known tokens that are protected.  O(blocks of the row).
std::uint32_t BlockManager::num_protected_on_chain(RowId id) {
  Demand const demand = demand_of(id, 0);
  nodes_.clear();
  hashes_.clear();
  ledger_.index().walk(demand.content.root, demand.content.tokens, demand.content.extras, nodes_, hashes_);
  auto const first_other = std::ranges::find_if_not(nodes_, [this](NodeId node) { return ledger_.is_protected(node); });
  return static_cast<std::uint32_t>(first_other - nodes_.begin());
}

ClaimAnswer BlockManager::accept_claim(ClaimRequest const& wanted, std::int64_t now_ns) {
  std::size_t const num_tokens = wanted.content.tokens.size();
  auto const footprint = static_cast<std::uint32_t>(num_tokens / options_.block_size);
  RKV_REQUIRE(footprint > 0 && num_tokens % options_.block_size == 0, "a claim's tokens must fill its footprint exactly: ", num_tokens,
              " tokens, block_size=", options_.block_size);
  RKV_REQUIRE(wanted.predicate_start < wanted.predicate_end && wanted.predicate_end <= footprint, "the predicate needs blocks [",
              wanted.predicate_start, ", ", wanted.predicate_end, ") of a footprint of ", footprint);
  ledger_.set_now(now_ns);
  BlockPool const& pool = ledger_.pool();
  bool const protects = wanted.mode == ClaimMode::kProtecting;

  std::vector<NodeId> known;
  ledger_.index().walk(wanted.content.root, wanted.content.tokens, wanted.content.extras, known, hashes_);
  // Requests that already compute part of the footprint fill it: the first admitted at each block.
  std::vector<RowId> fillers(footprint, kNoRow);
  struct Overlap {
    RowId row;
    std::uint32_t num_common;
  };
  std::vector<Overlap> overlaps;  // per admitted request, by admission
  for (std::uint32_t i = 0; protects && i < requests_.row_limit(); ++i) {
    RequestStatus const status = requests_.row(RowId{i}).status;
    if (RequestTable::is_admitted(status)) {
      overlaps.push_back({.row = RowId{i},
                          .num_common = num_common_blocks(wanted.content, demand_of(RowId{i}, 0).content, footprint, options_.block_size)});
    }
  }
  std::ranges::sort(overlaps, {}, [this](Overlap const& overlap) { return requests_.request(overlap.row).admitted; });
  for (Overlap const& overlap : overlaps) {
    Row const& row = requests_.row(overlap.row);
    Request const& request = requests_.request(overlap.row);
    if (row.status != RequestStatus::kRunning || row.publish_at == Row::kNothingToPublish) continue;
    std::size_t const end = std::min<std::size_t>(overlap.num_common, request.blocks.size());
    for (std::size_t i = request.nodes.size(); i < end; ++i) {
      if (fillers[i] == kNoRow) fillers[i] = overlap.row;
    }
  }

  std::uint32_t newly_protected = 0;
  std::uint32_t newly_idle = 0;      // cached blocks that become resident
  std::uint32_t newly_reserved = 0;  // planned blocks that nobody computes yet
  for (std::uint32_t i = 0; protects && i < footprint; ++i) {
    if (i < known.size() && ledger_.is_protected(known[i])) continue;
    ++newly_protected;
    if (i < known.size() && ledger_.is_backed(known[i])) {
      newly_idle += pool.ref_count(ledger_.index().block(known[i])) == 0;
    } else {
      newly_reserved += fillers[i] == kNoRow;
    }
  }
  ClaimAnswer answer;
  answer.protected_blocks = ledger_.num_protected() + newly_protected;
  answer.protected_union_held_blocks = pool.num_resident_idle() + newly_idle + pool.num_reserved() + newly_reserved + pool.num_active();
  answer.largest_union_blocks = answer.protected_blocks;
  for (Overlap const& overlap : overlaps) {
    std::uint32_t const together = answer.protected_blocks + requests_.request(overlap.row).peak_blocks;
    if (together <= answer.largest_union_blocks) continue;
    std::uint32_t const num_protected = std::max(overlap.num_common, num_protected_on_chain(overlap.row));
    answer.largest_union_blocks = std::max(answer.largest_union_blocks, together - num_protected);
  }
  if (protects && answer.protected_blocks > wanted.max_protected_blocks) {
    answer.outcome = ClaimOutcome::kOverBudget;
    return answer;
  }
  if (protects && (answer.largest_union_blocks > options_.usable_blocks || answer.protected_union_held_blocks > options_.usable_blocks)) {
    answer.outcome = ClaimOutcome::kNoCapacity;
    return answer;
  }

  ++version_;
  answer.claim = ledger_.accept({.root = wanted.content.root,
                                 .tokens = wanted.content.tokens,
                                 .extras = wanted.content.extras,
                                 .predicate_start = wanted.predicate_start,
                                 .predicate_end = wanted.predicate_end,
                                 .mode = wanted.mode,
                                 .known_nodes = known,
                                 .fillers = fillers});
  Region const& region = *ledger_.regions().find(answer.claim);
  answer.materialized = region.predicate_true;
  for (NodeId const node : region.nodes) {
    NodeHold const& hold = *ledger_.regions().hold(node);
    if (hold.filler == kNoRow || hold.filler == kRestorer) continue;
    std::vector<NodeId>& fills = requests_.request(hold.filler).fills;
    if (std::ranges::find(fills, node) == fills.end()) fills.push_back(node);
  }
  ledger_.deadlines().set(answer.claim, wanted.deadline);
  ledger_.check_accounting();
  return answer;
}

std::uint64_t BlockManager::end_claim(ClaimId claim, EventKind ended_by, std::int64_t now_ns) {
  RKV_REQUIRE(ended_by == EventKind::kClaimDemoted || ended_by == EventKind::kClaimExpired || ended_by == EventKind::kClaimReleased,
              "a claim ends by demotion, expiry or release");
  static_cast<void>(live_region(claim));
  ledger_.set_now(now_ns);
  ++version_;
  std::vector<BlockLedger::Filling> stopped;
  std::uint64_t const sequence = ledger_.end(claim, ended_by, stopped);
  stop_filling(stopped);
  ledger_.check_accounting();
  return sequence;
}

}  // namespace residentkv
