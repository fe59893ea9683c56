#include "prefix/prefix_index.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace residentkv {

PrefixIndex::PrefixIndex(Options options) : options_(options), hash_(options.hash_seed, options.block_size) {
  std::uint32_t const num_heads = std::bit_ceil(std::max(options.expected_nodes + options.expected_nodes / 4, 16U));
  heads_.grow(num_heads);
  mask_ = num_heads - 1;
  nodes_.grow(options.expected_nodes);
  tokens_.grow(std::size_t{options.expected_nodes} * options.block_size);
  heads_.advise_large_pages();
  nodes_.advise_large_pages();
  tokens_.advise_large_pages();
}

bool PrefixIndex::spells(Node const& node, std::uint32_t index, NodeId parent, ChainBlock const& block) const noexcept {
  if (node.parent != parent || node.extra != block.extra) return false;
  std::int32_t const* const tokens = &tokens_[std::size_t{index} * options_.block_size];
  std::int32_t difference = 0;  // without an early exit the comparison is a few vector instructions; a candidate nearly always is equal
  for (std::uint32_t i = 0; i < options_.block_size; ++i) difference |= tokens[i] ^ block.tokens[i];
  return difference == 0;
}

NodeId PrefixIndex::find(NodeId parent, ChainBlock const& block) const noexcept {
  auto const hash = static_cast<std::uint32_t>(block.hash);
  for (NodeId node = head(hash); node != kNoNode; node = target(nodes_[index_of(node)].next)) {
    Node const& record = nodes_[index_of(node)];
    if (record.hash == hash && spells(record, index_of(node), parent, block)) return node;
  }
  return kNoNode;
}

void PrefixIndex::walk(RootId root_id, std::span<std::int32_t const> tokens, std::span<ExtraId const> extras, std::vector<NodeId>& nodes,
                       std::vector<std::uint64_t>& hashes) const {
  // Blocks are looked up in groups: hashes need no memory of ours, so the heads of a group, then its candidate nodes and their tokens, are
  // fetched together instead of one miss after another. That is the difference between 1 and 10 microseconds in a pool of a million blocks.
  // Groups start small, since most chains that miss, miss at once.
  constexpr std::size_t kLargestGroup = 32;
  std::size_t const num_blocks = tokens.size() / options_.block_size;
  NodeId parent = root(root_id);
  std::uint64_t hash = hash_.root(root_id);
  std::array<ChainBlock, kLargestGroup> group;
  std::size_t group_size = 2;
  for (std::size_t begin = 0; begin < num_blocks; begin += group_size, group_size = std::min(group_size * 4, kLargestGroup)) {
    std::size_t const size = std::min(group_size, num_blocks - begin);
    for (std::size_t i = 0; i < size; ++i) {
      ExtraId const extra = begin + i < extras.size() ? extras[begin + i] : kNoExtra;
      group[i] = {.tokens = tokens.data() + (begin + i) * options_.block_size, .extra = extra, .hash = 0};
      group[i].hash = hash = hash_.next(hash, group[i].tokens, extra);
      prefetch_head(hash);
    }
    for (std::size_t i = 0; i < size; ++i) {
      NodeId const first = head(static_cast<std::uint32_t>(group[i].hash));
      if (first == kNoNode) break;  // this block is absent, so the chain ends before it
      prefetch(first);
      __builtin_prefetch(&tokens_[std::size_t{index_of(first)} * options_.block_size]);
    }
    std::size_t const num_before = nodes.size();
    nodes.resize(num_before + size);
    hashes.resize(num_before + size);
    std::size_t found = 0;
    for (; found < size; ++found) {
      NodeId const node = find(parent, group[found]);
      if (node == kNoNode) break;
      nodes[num_before + found] = parent = node;
      hashes[num_before + found] = group[found].hash;
    }
    if (found < size) {
      nodes.resize(num_before + found);
      hashes.resize(num_before + found);
      return;
    }
  }
}

NodeId PrefixIndex::insert(NodeId parent, ChainBlock const& block) {
  if (num_nodes_ > mask_) grow_heads();
  NodeId node = target(free_head_);
  if (node == kNoNode) {
    if (fresh_ == nodes_.size()) {
      std::size_t const size = nodes_.size() + nodes_.size() / 2 + 16;
      tokens_.grow(size * options_.block_size);
      nodes_.grow(size);
    }
    node = NodeId{fresh_++};
  } else {
    free_head_ = nodes_[index_of(node)].next;
  }
  bool const has_parent = !is_root(parent);
  std::uint32_t const position = has_parent ? this->position(parent) + 1 : 0;
  nodes_[index_of(node)] = {.parent = parent,
                            .next = kNoLink,
                            .previous = kNoNode,
                            .hash = static_cast<std::uint32_t>(block.hash),
                            .extra = block.extra,
                            .block = kNoBlock,
                            .num_children = 0,
                            .position = position};
  std::memcpy(&tokens_[std::size_t{index_of(node)} * options_.block_size], block.tokens, std::size_t{options_.block_size} * 4);
  if (block.extra != kNoExtra) extra_keys_.retain(block.extra);
  if (has_parent) ++nodes_[index_of(parent)].num_children;
  ++num_nodes_;
  link(node);
  return node;
}

void PrefixIndex::erase(NodeId id) {
  Node& node = nodes_[index_of(id)];
  RKV_INVARIANT(exists(id) && node.num_children == 0, "INV-5: forgot node ", index_of(id), " with ", node.num_children, " children");
  unlink(id);
  if (!is_root(node.parent)) --nodes_[index_of(node.parent)].num_children;
  if (node.extra != kNoExtra) extra_keys_.release(node.extra);
  node.parent = kNoNode;
  node.next = free_head_;
  free_head_ = link_to(id);
  --num_nodes_;
}

void PrefixIndex::link(NodeId id) noexcept {
  Node& node = nodes_[index_of(id)];
  Link& head = heads_[node.hash & mask_];
  node.previous = kNoNode;
  node.next = head;
  set_previous(head, id);
  head = link_to(id);
}

// Without a branch: whether a chain ends here is a coin toss, and guessing it wrong would wait for the memory that decides it.
void PrefixIndex::set_previous(Link of, NodeId previous) noexcept {
  NodeId* const field = of == kNoLink ? &nobody_ : &nodes_[of - 1].previous;
  *field = previous;
}

void PrefixIndex::unlink(NodeId id) {
  Node const& node = nodes_[index_of(id)];
  Link* const to_here = node.previous == kNoNode ? &heads_[node.hash & mask_] : &nodes_[index_of(node.previous)].next;
  RKV_INVARIANT(*to_here == link_to(id), "INV-5: node ", index_of(id), " is not where its hash says");
  *to_here = node.next;
  set_previous(node.next, node.previous);
}

void PrefixIndex::grow_heads() {
  RawArray<Link, Fill::kZero> const old = std::move(heads_);
  heads_ = RawArray<Link, Fill::kZero>(old.size() * 2);
  mask_ = static_cast<std::uint32_t>(heads_.size() - 1);
  for (std::size_t i = 0; i < old.size(); ++i) {
    for (Link node = old[i]; node != kNoLink;) {
      Link const next = nodes_[node - 1].next;
      link(target(node));
      node = next;
    }
  }
}

void PrefixIndex::check() const {
  std::uint32_t used = 0;
  std::vector<std::uint32_t> children(fresh_, 0);
  for (std::uint32_t i = 0; i < fresh_; ++i) {
    Node const& node = nodes_[i];
    if (node.parent == kNoNode) continue;
    ++used;
    if (!is_root(node.parent)) {
      RKV_INVARIANT(exists(node.parent) && position(node.parent) + 1 == position(NodeId{i}), "INV-5: node ", i, " has no parent");
      ++children[index_of(node.parent)];
    }
    NodeId before = kNoNode;
    NodeId found = head(node.hash);
    while (found != kNoNode && found != NodeId{i}) found = target(nodes_[index_of(before = found)].next);
    RKV_INVARIANT(found == NodeId{i} && node.previous == before, "INV-5: node ", i, " can not be found, or not left");
  }
  for (std::uint32_t i = 0; i < fresh_; ++i) {
    RKV_INVARIANT(nodes_[i].parent == kNoNode || nodes_[i].num_children == children[i], "INV-5: node ", i, " counts ",
                  nodes_[i].num_children, " children, has ", children[i]);
  }
  RKV_INVARIANT(used == num_nodes_, "INV-5: ", used, " nodes used, ", num_nodes_, " counted");
}

}  // namespace residentkv
