// The full self-check of the ledger: what the O(1) checks can not see.
#include "manager/block_ledger.hpp"

namespace residentkv {

void BlockLedger::check() const {
  pool_.check();
  index_.check();
  regions_.check();

  std::uint32_t num_protected = 0;
  std::uint32_t num_reserved = 0;
  std::uint32_t num_filling = 0;
  std::uint32_t num_backed = 0;
  for (std::uint32_t i = 0; i < index_.node_limit(); ++i) {
    NodeId const node{i};
    if (!index_.exists(node)) continue;
    NodeHold const* const hold = regions_.hold(node);
    BlockId const block = index_.block(node);
    RKV_INVARIANT(hold == nullptr || hold->node == node, "INV-6: node ", i, " has somebody else's hold");
    num_protected += hold != nullptr && hold->is_protected();
    num_filling += hold != nullptr && hold->filler != kNoRow;
    if (block == kNoBlock) {
      RKV_INVARIANT(hold != nullptr || index_.num_children(node) > 0, "INV-7: node ", i, " is neither computed nor named");
      num_reserved += is_reserved(node);
      continue;
    }
    ++num_backed;
    RKV_INVARIANT(pool_.content(block) == node, "INV-7: node ", i, " names block ", index_of(block), " which holds something else");
    RKV_INVARIANT(pool_.retention(block) == retention_of(hold), "INV-2: block ", index_of(block), " has the wrong retention");
    RKV_INVARIANT(hold == nullptr || hold->filler == kNoRow, "INV-4: computed node ", i, " is still being filled");
    NodeId const parent = index_.parent(node);
    if (PrefixIndex::is_root(parent)) continue;
    RKV_INVARIANT(is_backed(parent), "INV-5: node ", i, " is computed and its parent is not");
    BlockId const parent_block = index_.block(parent);
    RKV_INVARIANT(pool_.ref_count(parent_block) > 0 || pool_.ref_count(block) == 0, "INV-5: node ", i, " is held and its parent is not");
    RKV_INVARIANT(pool_.ref_count(parent_block) > 0 || pool_.retention(parent_block) >= pool_.retention(block), "INV-5: node ", i,
                  " would outlive its parent");
  }
  std::uint32_t num_content = 0;
  for (std::uint32_t i = pool_.first_block(); i < pool_.num_rows(); ++i) {
    if (pool_.is_fresh(BlockId{i})) break;
    NodeId const node = pool_.content(BlockId{i});
    if (node == kNoNode) continue;
    ++num_content;
    RKV_INVARIANT(index_.exists(node) && index_.block(node) == BlockId{i}, "INV-7: block ", i, " names a node that does not name it");
  }
  RKV_INVARIANT(num_content == num_backed, "INV-7: ", num_content, " blocks with content, ", num_backed, " computed nodes");
  RKV_INVARIANT(num_protected == num_protected_, "INV-4: ", num_protected, " protected nodes, ", num_protected_, " counted");
  RKV_INVARIANT(num_filling == num_filling_, "INV-4: ", num_filling, " nodes being filled, ", num_filling_, " counted");
  RKV_INVARIANT(num_reserved == claims_reservation_.remaining(), "INV-4: ", num_reserved, " planned nodes, ",
                claims_reservation_.remaining(), " reserved");
  for (auto const& [claim, region] : regions_.all()) {
    if (region.mode == ClaimMode::kAway || region.is_restoring()) {
      RKV_INVARIANT(!region.predicate_true, "INV-11: claim ", index_of(claim), " is away and materialized");
      continue;
    }
    bool computed = true;
    for (std::uint32_t i = region.predicate_start; i < region.predicate_end; ++i) {
      computed = computed && is_backed(region.nodes[i]);
    }
    RKV_INVARIANT(computed == region.predicate_true, "INV-6: predicate of claim ", index_of(claim), " is ", computed, ", recorded as ",
                  region.predicate_true);
  }
  std::vector<bool> evicted(pool_.num_rows(), false);
  pool_.for_each_victim([&](BlockId block) {
    NodeId const parent = index_.parent(pool_.content(block));
    bool const has_parent_block = !PrefixIndex::is_root(parent) && is_backed(parent);
    RKV_INVARIANT(!has_parent_block || !evicted[index_of(index_.block(parent))], "INV-5: block ", index_of(block),
                  " would be evicted after its parent");
    evicted[index_of(block)] = true;
  });
}

}  // namespace residentkv
