#include "prefix/prefix_index.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace residentkv {

PrefixIndex::PrefixIndex(Options options) : options_(options), hash_(options.hash_seed, options.block_size) {
  std::uint32_t const num_slots = std::bit_ceil(std::max(options.expected_nodes + options.expected_nodes / 4, 16U));
  slots_.grow(num_slots);
  mask_ = num_slots - 1;
  nodes_.grow(options.expected_nodes);
  tokens_.grow(std::size_t{options.expected_nodes} * options.block_size);
}

bool PrefixIndex::spells(Node const& node, std::uint32_t index, NodeId parent, ChainBlock const& block) const noexcept {
  return node.parent == parent && node.extra == block.extra &&
         std::memcmp(&tokens_[std::size_t{index} * options_.block_size], block.tokens, std::size_t{options_.block_size} * 4) == 0;
}

NodeId PrefixIndex::find(NodeId parent, ChainBlock const& block) const noexcept {
  auto const hash = static_cast<std::uint32_t>(block.hash);
  for (std::uint32_t i = hash & mask_; slots_[i].node_plus_one != 0; i = (i + 1) & mask_) {
    std::uint32_t const index = slots_[i].node_plus_one - 1;
    if (slots_[i].hash == hash && spells(nodes_[index], index, parent, block)) return NodeId{index};
  }
  return kNoNode;
}

void PrefixIndex::walk(RootId root_id, std::span<std::int32_t const> tokens, std::span<ExtraId const> extras,
                       std::vector<NodeId>& nodes, std::vector<std::uint64_t>& hashes) const {
  // Blocks are looked up in groups: hashes need no memory of ours, so the slots of a group, then its candidate nodes and their tokens, are
  // fetched together instead of one miss after another. That is the difference between 1 and 10 microseconds in a pool of a million blocks.
  // Groups start small, since most chains that miss, miss at once.
  constexpr std::size_t kLargestGroup = 32;
  std::size_t const num_blocks = tokens.size() / options_.block_size;
  NodeId parent = root(root_id);
  std::uint64_t hash = hash_.root(root_id);
  ChainBlock group[kLargestGroup];
  std::size_t group_size = 2;
  for (std::size_t begin = 0; begin < num_blocks; begin += group_size, group_size = std::min(group_size * 4, kLargestGroup)) {
    std::size_t const size = std::min(group_size, num_blocks - begin);
    for (std::size_t i = 0; i < size; ++i) {
      std::int32_t const* block_tokens = tokens.data() + (begin + i) * options_.block_size;
      ExtraId const extra = begin + i < extras.size() ? extras[begin + i] : kNoExtra;
      hash = hash_.next(hash, block_tokens, extra);
      group[i] = {.tokens = block_tokens, .extra = extra, .hash = hash};
      __builtin_prefetch(&slots_[static_cast<std::uint32_t>(hash) & mask_]);
    }
    for (std::size_t i = 0; i < size; ++i) {
      std::uint32_t const first = slots_[static_cast<std::uint32_t>(group[i].hash) & mask_].node_plus_one;
      if (first == 0) continue;  // absent, or moved on by a collision: find() below decides
      __builtin_prefetch(&nodes_[first - 1]);
      __builtin_prefetch(&tokens_[std::size_t{first - 1} * options_.block_size]);
    }
    for (std::size_t i = 0; i < size; ++i) {
      NodeId const node = find(parent, group[i]);
      if (node == kNoNode) return;
      nodes.push_back(node);
      hashes.push_back(group[i].hash);
      parent = node;
    }
  }
}

NodeId PrefixIndex::insert(NodeId parent, ChainBlock const& block) {
  if ((num_linked_ + 1) * std::uint64_t{5} > std::uint64_t{mask_ + 1} * 4) grow_slots();
  NodeId node = free_head_;
  if (node == kNoNode) {
    if (fresh_ == nodes_.size()) {
      std::size_t const size = nodes_.size() + nodes_.size() / 2 + 16;
      tokens_.grow(size * options_.block_size);
      nodes_.grow(size);
    }
    node = NodeId{fresh_++};
  } else {
    free_head_ = NodeId{index_of(nodes_[index_of(node)].block)};
  }
  bool const has_parent = !is_root(parent);
  std::uint32_t const position = has_parent ? this->position(parent) + 1 : 0;
  nodes_[index_of(node)] = {.parent = parent,
                            .hash = static_cast<std::uint32_t>(block.hash),
                            .extra = block.extra,
                            .block = kNoBlock,
                            .num_children = 0,
                            .position = position};
  std::memcpy(&tokens_[std::size_t{index_of(node)} * options_.block_size], block.tokens, std::size_t{options_.block_size} * 4);
  if (block.extra != kNoExtra) extra_keys_.retain(block.extra);
  if (has_parent) ++nodes_[index_of(parent)].num_children;
  ++num_nodes_;
  link(static_cast<std::uint32_t>(block.hash), node);
  return node;
}

void PrefixIndex::erase(NodeId id) {
  Node& node = nodes_[index_of(id)];
  RKV_INVARIANT(exists(id) && node.num_children == 0, "INV-5: forgot node ", index_of(id), " with ", node.num_children, " children");
  if ((node.position & kDetachedBit) == 0) unlink(id);
  if (!is_root(node.parent)) --nodes_[index_of(node.parent)].num_children;
  if (node.extra != kNoExtra) extra_keys_.release(node.extra);
  node.parent = kNoNode;
  node.block = BlockId{index_of(free_head_)};
  free_head_ = id;
  --num_nodes_;
}

void PrefixIndex::detach(NodeId id) {
  RKV_INVARIANT(exists(id) && !is_detached(id), "detached node ", index_of(id), " twice");
  unlink(id);
  nodes_[index_of(id)].position |= kDetachedBit;
}

void PrefixIndex::link(std::uint32_t hash, NodeId node) noexcept {
  std::uint32_t i = hash & mask_;
  while (slots_[i].node_plus_one != 0) i = (i + 1) & mask_;
  slots_[i] = {.hash = hash, .node_plus_one = index_of(node) + 1};
  ++num_linked_;
}

void PrefixIndex::unlink(NodeId node) {
  std::uint32_t const wanted = index_of(node) + 1;
  std::uint32_t hole = nodes_[index_of(node)].hash & mask_;
  while (slots_[hole].node_plus_one != wanted) {
    RKV_INVARIANT(slots_[hole].node_plus_one != 0, "INV-5: node ", index_of(node), " is not where its hash says");
    hole = (hole + 1) & mask_;
  }
  // Close the gap (Knuth 6.4, algorithm R): move back every later entry of the run whose home is not between the hole and itself.
  for (std::uint32_t i = (hole + 1) & mask_; slots_[i].node_plus_one != 0; i = (i + 1) & mask_) {
    std::uint32_t const home = slots_[i].hash & mask_;
    if (((i - home) & mask_) >= ((i - hole) & mask_)) {
      slots_[hole] = slots_[i];
      hole = i;
    }
  }
  slots_[hole] = {};
  --num_linked_;
}

void PrefixIndex::grow_slots() {
  RawArray<Slot, Fill::kZero> old = std::move(slots_);
  slots_ = RawArray<Slot, Fill::kZero>();
  slots_.grow(old.size() * 2);
  mask_ = static_cast<std::uint32_t>(slots_.size() - 1);
  num_linked_ = 0;
  for (std::size_t i = 0; i < old.size(); ++i) {
    if (old[i].node_plus_one != 0) link(old[i].hash, NodeId{old[i].node_plus_one - 1});
  }
}

void PrefixIndex::check() const {
  std::uint32_t used = 0;
  std::uint32_t linked = 0;
  std::vector<std::uint32_t> children(fresh_, 0);
  for (std::uint32_t i = 0; i < fresh_; ++i) {
    Node const& node = nodes_[i];
    if (node.parent == kNoNode) continue;
    ++used;
    if (!is_root(node.parent)) {
      RKV_INVARIANT(exists(node.parent) && position(node.parent) + 1 == position(NodeId{i}), "INV-5: node ", i, " has no parent");
      ++children[index_of(node.parent)];
    }
    if (is_detached(NodeId{i})) continue;
    ++linked;
    std::uint32_t slot = node.hash & mask_;
    while (slots_[slot].node_plus_one != 0 && slots_[slot].node_plus_one != i + 1) slot = (slot + 1) & mask_;
    RKV_INVARIANT(slots_[slot].node_plus_one == i + 1, "INV-5: node ", i, " can not be found");
  }
  for (std::uint32_t i = 0; i < fresh_; ++i) {
    RKV_INVARIANT(nodes_[i].parent == kNoNode || nodes_[i].num_children == children[i], "INV-5: node ", i, " counts ",
                  nodes_[i].num_children, " children, has ", children[i]);
  }
  RKV_INVARIANT(used == num_nodes_ && linked == num_linked_, "INV-5: ", used, " nodes used, ", num_nodes_, " counted");
}

}  // namespace residentkv
