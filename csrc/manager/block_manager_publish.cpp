// What a committed step completed enters the prefix index.
#include <algorithm>
#include <array>

#include "manager/block_manager.hpp"

namespace residentkv {

namespace {

// A full block of a row, hashed.
struct Full {
  RowId row;
  ChainBlock content;
};

constexpr std::size_t kGroup = 8;
struct Group {
  std::array<Full, kGroup> blocks;
  std::size_t size = 0;
};

}  // namespace

// The full blocks of known, written tokens of the rows in publishing_, row by row, in groups that may span rows.
class BlockManager::FullBlocks {
 public:
  explicit FullBlocks(BlockManager& manager) : manager_(manager) { start_row(); }

  // The next blocks, hashed; the heads of their chains are on their way into the cache.
  void next(Group& group) {
    PrefixIndex const& index = manager_.ledger_.index();
    std::uint32_t const block_size = manager_.options_.block_size;
    for (group.size = 0; group.size < kGroup && next_row_ < manager_.publishing_.size(); ++group.size) {
      RowId const id = manager_.publishing_[next_row_];
      Request const& request = manager_.requests_.request(id);
      ExtraId const extra = position_ < request.extras.size() ? request.extras[position_] : kNoExtra;
      std::int32_t const* const tokens = manager_.requests_.row(id).tokens + position_ * block_size;
      hash_ = index.hash().next(hash_, tokens, extra);
      index.prefetch_head(hash_);
      group.blocks[group.size] = {.row = id, .content = {.tokens = tokens, .extra = extra, .hash = hash_}};
      if (++position_ < num_full_) continue;
      ++next_row_;
      start_row();
    }
  }

 private:
  void start_row() {
    if (next_row_ == manager_.publishing_.size()) return;
    Row const& row = manager_.requests_.row(manager_.publishing_[next_row_]);
    Request const& request = manager_.requests_.request(manager_.publishing_[next_row_]);
    std::uint32_t const block_size = manager_.options_.block_size;
    position_ = request.nodes.size();
    num_full_ = full_blocks(row.num_written, block_size);
    hash_ = request.chain_hash;
    manager_.ledger_.index().prefetch(request.nodes.empty() ? kNoNode : request.nodes.back());
  }

  BlockManager& manager_;
  std::size_t next_row_ = 0;
  std::size_t position_ = 0;
  std::size_t num_full_ = 0;
  std::uint64_t hash_ = 0;
};

// A block that enters the index touches the head of a chain, then the chain's first node: two waits for memory, one after the other. Blocks
// are taken through these stages in groups, two groups ahead, so that the waits of many overlap.
void BlockManager::publish_rows() {
  if (publishing_.empty()) return;
  PrefixIndex const& index = ledger_.index();
  auto const fetch_chains = [&](Group const& group) {
    for (std::size_t i = 0; i < group.size; ++i) index.prefetch_chain(group.blocks[i].content.hash);
    index.prefetch_unused(static_cast<std::uint32_t>(group.size));
  };
  FullBlocks full(*this);
  std::array<Group, 3> groups;
  full.next(groups[0]);
  full.next(groups[1]);
  fetch_chains(groups[0]);
  RowId last_row = kNoRow;
  auto parent_is = BlockLedger::Parent::kKnown;
  for (std::size_t n = 0; groups[n % 3].size > 0; ++n) {
    full.next(groups[(n + 2) % 3]);
    fetch_chains(groups[(n + 1) % 3]);
    for (std::size_t i = 0; i < groups[n % 3].size; ++i) {
      auto const& [row, content] = groups[n % 3].blocks[i];
      if (row != last_row) parent_is = BlockLedger::Parent::kKnown;
      last_row = row;
      parent_is = publish(row, content, parent_is);
    }
  }
}

// The row's next block. Stops for good at the first that may not enter the index.
BlockLedger::Parent BlockManager::publish(RowId id, ChainBlock const& content, BlockLedger::Parent parent_is) {
  Row& row = requests_.row(id);
  if (row.publish_at == Row::kNothingToPublish) return parent_is;
  Request& request = requests_.request(id);
  std::size_t const i = request.nodes.size();
  BlockId const own = request.blocks[i];
  auto const absent = request.future_reuse ? BlockLedger::Absent::kCreate : BlockLedger::Absent::kLeave;
  NodeId const parent = i == 0 ? PrefixIndex::root(request.root) : request.nodes.back();
  BlockLedger::Published const published = ledger_.publish(parent, content, own, absent, parent_is, request.key);
  if (published.node == kNoNode) {
    row.publish_at = Row::kNothingToPublish;
    return parent_is;
  }
  if (published.stopped_filler != kNoRow) std::erase(requests_.request(published.stopped_filler).fills, published.node);
  if (published.block != own) {  // somebody was first: keep one copy of the content
    request.blocks[i] = published.block;
    buffers_.touch(id, static_cast<std::uint32_t>(i));
    replaced_.push_back({.row = id, .index = static_cast<std::uint32_t>(i), .old_block = own, .new_block = published.block});
    release_later(id, own);
  }
  request.nodes.push_back(published.node);
  request.chain_hash = content.hash;
  row.publish_at += options_.block_size;
  return published.is_new ? BlockLedger::Parent::kJustCreated : BlockLedger::Parent::kKnown;
}

}  // namespace residentkv
