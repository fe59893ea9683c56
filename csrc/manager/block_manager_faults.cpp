#include <algorithm>

#include "manager/block_manager.hpp"

namespace residentkv {

std::vector<RowId> BlockManager::invalidate(std::span<std::int32_t const> blocks, std::uint16_t cause, std::int64_t now_ns) {
  RKV_REQUIRE(in_flight_.empty(), "commit or fail step ", in_flight_.empty() ? 0 : in_flight_.front(), " before invalidating blocks");
  for (std::int32_t const block : blocks) {
    RKV_REQUIRE(ledger_.pool().is_usable(block), "block ", block, " does not exist: ids are ", ledger_.pool().first_block(), " to ",
                ledger_.pool().num_rows() - 1);
  }
  ledger_.set_now(now_ns);
  ++version_;
  std::vector<std::uint8_t> is_bad_block(ledger_.pool().num_rows(), 0);
  std::vector<NodeId> bad;
  for (std::int32_t const number : blocks) {
    BlockId const block{static_cast<std::uint32_t>(number)};
    if (is_bad_block[index_of(block)]++ > 0 || ledger_.pool().is_fresh(block)) continue;
    NodeId const node = ledger_.pool().content(block);
    if (node != kNoNode) bad.push_back(node);
  }
  std::vector<NodeId> const lost = ledger_.with_descendants(bad);
  std::vector<std::uint8_t> is_lost(ledger_.index().node_limit(), 0);
  for (NodeId const node : lost) is_lost[index_of(node)] = 1;

  // Whoever holds bad content, or computed from it, has to compute again.
  std::vector<RowId> preempted;
  auto const lost_node = [&](NodeId node) { return is_lost[index_of(node)] != 0; };
  for (std::uint32_t i = 0; i < requests_.row_limit(); ++i) {
    RowId const id{i};
    Request const& request = requests_.request(id);
    if (requests_.row(id).status != RequestStatus::kRunning) continue;
    if (std::ranges::any_of(request.blocks, [&](BlockId block) { return is_bad_block[index_of(block)] != 0; }) ||
        std::ranges::any_of(request.nodes, lost_node) || std::ranges::any_of(request.fills, lost_node)) {
      preempt(id);
      preempted.push_back(id);
    }
  }
  ledger_.invalidate(bad, lost, cause);
  ledger_.check_accounting();
  return preempted;
}

std::vector<RowId> BlockManager::reset(std::int64_t now_ns) {
  RKV_REQUIRE(in_flight_.empty(), "commit or fail step ", in_flight_.empty() ? 0 : in_flight_.front(), " before a reset");
  RKV_REQUIRE(ledger_.regions().all().empty(), ledger_.regions().all().size(), " claims are live: demote them before a reset");
  ledger_.set_now(now_ns);
  ++version_;
  std::vector<RowId> preempted;
  for (std::uint32_t i = 0; i < requests_.row_limit(); ++i) {
    if (requests_.row(RowId{i}).status != RequestStatus::kRunning) continue;
    preempt(RowId{i});
    preempted.push_back(RowId{i});
  }
  ledger_.drop_index();
  ledger_.check_accounting();
  return preempted;
}

void BlockManager::check() const {
  ledger_.check();
  std::vector<std::uint32_t> holders(ledger_.pool().num_rows(), 0);
  for (std::uint32_t i = 0; i < requests_.row_limit(); ++i) {
    Row const& row = requests_.row(RowId{i});
    Request const& request = requests_.request(RowId{i});
    if (row.status == RequestStatus::kUnused) continue;
    std::uint64_t const num_committed = request.nodes.size() * std::uint64_t{options_.block_size};
    RKV_INVARIANT(row.status != RequestStatus::kRunning || (num_committed <= row.num_written && row.num_written <= row.num_planned &&
                                                            row.num_planned <= request.blocks.size() * std::uint64_t{options_.block_size}),
                  "INV-8: row ", i, ": committed=", num_committed, " written=", row.num_written, " planned=", row.num_planned,
                  " blocks=", request.blocks.size());
    RKV_INVARIANT(row.status != RequestStatus::kRunning || row.num_written <= row.num_known, "INV-8: row ", i,
                  ": written=", row.num_written, " known=", row.num_known);
    RKV_INVARIANT(row.num_in_flight > 0 || row.num_written == row.num_planned, "INV-8: row ", i,
                  ": nothing in flight, written=", row.num_written, " planned=", row.num_planned);
    RKV_INVARIANT(
        row.easy_end == row.num_planned ||
            (row.status == RequestStatus::kRunning && !row.shares_blocks && row.easy_end <= request.token_limit &&
             (row.easy_end - 1) / options_.block_size == row.num_planned / options_.block_size &&
             row.num_planned + row.slot_shift == index_of(request.blocks[row.num_planned / options_.block_size]) * options_.block_size +
                                                     row.num_planned % options_.block_size),
        "INV-8: row ", i, " would be planned from ", row.num_planned, " to ", row.easy_end, " by mistake");
    for (BlockId const block : request.blocks) ++holders[index_of(block)];
    for (std::size_t j = 0; j < request.nodes.size(); ++j) {
      RKV_INVARIANT(ledger_.index().exists(request.nodes[j]) && ledger_.index().block(request.nodes[j]) == request.blocks[j], "INV-8: row ",
                    i, " holds block ", index_of(request.blocks[j]), " for a node that is elsewhere");
    }
    for (NodeId const node : request.fills) {
      NodeHold const* const hold = ledger_.regions().hold(node);
      RKV_INVARIANT(hold != nullptr && hold->filler == RowId{i}, "INV-4: row ", i, " fills node ", index_of(node), " for nobody");
      std::size_t const position = ledger_.index().position(node);
      RKV_INVARIANT(position < request.blocks.size() && ledger_.pool().content(request.blocks[position]) == kNoNode, "INV-4: row ", i,
                    " fills node ", index_of(node), " without a block for it");
      std::span<std::int32_t const> const known(row.tokens, row.num_known);
      RKV_INVARIANT(std::ranges::equal(ledger_.index().tokens(node), known.subspan(position * options_.block_size, options_.block_size)),
                    "INV-4: row ", i, " fills node ", index_of(node), " with something else");
    }
  }
  RKV_INVARIANT(in_flight_.size() <= 2 && std::ranges::is_sorted(in_flight_), "INV-10: steps in flight are out of order");
  for (std::uint64_t const number : in_flight_) {
    Step const& in_flight = steps_[number % StepBuffers::kNumSets];
    for (BlockId const block : in_flight.given_back) ++holders[index_of(block)];
    for (Step::Departure const& departure : in_flight.departures) ++holders[index_of(departure.shared)];
  }
  for (std::uint32_t i = ledger_.pool().first_block(); i < ledger_.pool().num_rows() && !ledger_.pool().is_fresh(BlockId{i}); ++i) {
    RKV_INVARIANT(ledger_.pool().ref_count(BlockId{i}) == holders[i], "INV-9: block ", i,
                  " has ref_count=", ledger_.pool().ref_count(BlockId{i}), " and ", holders[i], " holders");
  }
}

}  // namespace residentkv
