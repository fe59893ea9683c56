#pragma once
// An exact index of token chains: a trie whose nodes are blocks of tokens, one root per cache identity. Two chains share a node only when
// the identity, every token and every extra key up to it are equal; the hash finds candidates, tokens decide.
//
// Nodes are found through a hash table of chains: heads here, links both ways in the nodes. Whoever is forgotten is usually the oldest of
// its chain: walking to it from the head would wait for the memory of every node before it.
//
// A node may name a block that holds its KV ("backed") or not (planned by a claim). The index does not know who may be evicted (alloc/
// does): it only refuses to forget a node that still has children.
//
// Invariants: (1) a node is found from its parent, tokens and extra key, and from nothing else.  (2) num_children counts nodes whose parent
// it is.  Complexity: O(block_size) per block looked up or inserted, expected; never O(nodes) except where said. Thread safety: none.
#include <cstdint>
#include <span>
#include <vector>

#include "core/check.hpp"
#include "core/ids.hpp"
#include "core/raw_array.hpp"
#include "prefix/extra_keys.hpp"
#include "prefix/token_hash.hpp"

namespace residentkv {

// One block's worth of a chain, as the caller holds it.
struct ChainBlock {
  std::int32_t const* tokens;  // [block_size]
  ExtraId extra;
  std::uint64_t hash;  // of the chain up to and including this block
};

class PrefixIndex {
 public:
  struct Options {
    std::uint32_t block_size;
    std::uint32_t expected_nodes;  // sizes the table; more are accepted, at the price of growing it
    std::uint64_t hash_seed;
  };
  explicit PrefixIndex(Options options);
  PrefixIndex(PrefixIndex const&) = delete;
  PrefixIndex& operator=(PrefixIndex const&) = delete;

  [[nodiscard]] TokenHash const& hash() const noexcept { return hash_; }
  [[nodiscard]] ExtraKeys& extra_keys() noexcept { return extra_keys_; }

  // The parent of a chain's first node. A root is a number, not a stored node: unknown roots are merely empty.  REQUIRES: root < 2^31 - 1.
  [[nodiscard]] static NodeId root(RootId root) noexcept { return NodeId{index_of(root) | kRootBit}; }
  [[nodiscard]] static bool is_root(NodeId node) noexcept { return (index_of(node) & kRootBit) != 0 && node != kNoNode; }

  [[nodiscard]] NodeId find(NodeId parent, ChainBlock const& block) const noexcept;  // kNoNode when absent

  // Appends to `nodes` the longest chain of existing nodes that spells `tokens`, backed or not, and to `hashes` the chain hash of each.
  // extras: per block, may be shorter than the chain (missing means none).  O(blocks found), with lookups in flight together.
  void walk(RootId root, std::span<std::int32_t const> tokens, std::span<ExtraId const> extras, std::vector<NodeId>& nodes,
            std::vector<std::uint64_t>& hashes) const;

  // Adds a node without a block.  REQUIRES: absent (checked by the caller's find()).  THROWS: std::bad_alloc, unchanged.
  NodeId insert(NodeId parent, ChainBlock const& block);
  void erase(NodeId node);  // REQUIRES: no children.

  [[nodiscard]] BlockId block(NodeId node) const noexcept { return nodes_[index_of(node)].block; }
  void set_block(NodeId node, BlockId block) noexcept { nodes_[index_of(node)].block = block; }
  [[nodiscard]] NodeId parent(NodeId node) const noexcept { return nodes_[index_of(node)].parent; }
  [[nodiscard]] std::uint32_t position(NodeId node) const noexcept { return nodes_[index_of(node)].position; }
  [[nodiscard]] std::uint32_t num_children(NodeId node) const noexcept { return nodes_[index_of(node)].num_children; }
  [[nodiscard]] ExtraId extra(NodeId node) const noexcept { return nodes_[index_of(node)].extra; }
  [[nodiscard]] static RootId root_id(NodeId root) noexcept { return RootId{index_of(root) & ~kRootBit}; }  // REQUIRES: is_root(root)
  [[nodiscard]] std::span<std::int32_t const> tokens(NodeId node) const noexcept {
    return {&tokens_[std::size_t{index_of(node)} * options_.block_size], options_.block_size};
  }

  [[nodiscard]] std::uint32_t num_nodes() const noexcept { return num_nodes_; }
  [[nodiscard]] std::uint32_t node_limit() const noexcept { return fresh_; }  // every node id ever used is below
  [[nodiscard]] bool exists(NodeId node) const noexcept { return index_of(node) < fresh_ && nodes_[index_of(node)].parent != kNoNode; }
  [[nodiscard]] std::size_t metadata_bytes() const noexcept { return nodes_.size() * sizeof(Node) + heads_.size() * sizeof(std::uint32_t); }

  // Hints for whoever handles many nodes: the node, what erase() touches besides it, the head of a hash.
  void prefetch(NodeId node) const noexcept {
    if (node != kNoNode) __builtin_prefetch(&nodes_[index_of(node)]);
  }
  void prefetch_links(NodeId id) const noexcept {
    if (id == kNoNode) return;
    Node const& node = nodes_[index_of(id)];
    __builtin_prefetch(node.previous == kNoNode ? &heads_[node.hash & mask_] : &nodes_[index_of(node.previous)].next);
    if (node.next != kNoLink) __builtin_prefetch(&nodes_[node.next - 1]);
    if (!is_root(node.parent)) prefetch(node.parent);
  }
  // The first node of a hash's chain, which find() and insert() touch.  REQUIRES for speed: its head was fetched.
  void prefetch_chain(std::uint64_t hash) const noexcept { prefetch(head(static_cast<std::uint32_t>(hash))); }
  // The tokens of the nodes that the next `count` inserts use. Their records are at hand: they were erased last.
  void prefetch_unused(std::uint32_t count) const noexcept {
    for (Link node = free_head_; node != kNoLink && count > 0; --count, node = nodes_[node - 1].next) {
      __builtin_prefetch(&tokens_[std::size_t{node - 1} * options_.block_size], 1);
    }
  }
  void prefetch_head(std::uint64_t hash) const noexcept { __builtin_prefetch(&heads_[static_cast<std::uint32_t>(hash) & mask_]); }

  void check() const;  // invariants (1) and (2).  O(nodes).  THROWS: InvariantError.

 private:
  static constexpr std::uint32_t kRootBit = 0x80000000U;
  using Link = std::uint32_t;  // number of a node + 1
  static constexpr Link kNoLink = 0;
  struct Node {
    NodeId parent;    // kNoNode: unused
    Link next;        // in the chain of its hash; of an unused node, in the list of unused nodes
    NodeId previous;  // in the chain of its hash; kNoNode: it hangs from the head
    std::uint32_t hash;
    ExtraId extra;
    BlockId block;
    std::uint32_t num_children;
    std::uint32_t position;  // in the chain of tokens, from 0
  };
  static_assert(sizeof(Node) == 32);  // two to a cache line

  [[nodiscard]] bool spells(Node const& node, std::uint32_t index, NodeId parent, ChainBlock const& block) const noexcept;
  [[nodiscard]] static constexpr NodeId target(Link link) noexcept { return NodeId{link - 1}; }  // of kNoLink: kNoNode
  [[nodiscard]] static constexpr Link link_to(NodeId node) noexcept { return index_of(node) + 1; }
  [[nodiscard]] NodeId head(std::uint32_t hash) const noexcept { return target(heads_[hash & mask_]); }
  void link(NodeId node) noexcept;
  void set_previous(Link of, NodeId previous) noexcept;
  void unlink(NodeId node);
  void grow_heads();

  Options options_;
  TokenHash hash_;
  ExtraKeys extra_keys_;
  RawArray<Node> nodes_;
  RawArray<std::int32_t> tokens_;      // [node][block_size]
  RawArray<Link, Fill::kZero> heads_;  // the first node of each chain
  NodeId nobody_ = kNoNode;            // takes what is written to the node after the last of a chain
  std::uint32_t mask_ = 0;
  std::uint32_t num_nodes_ = 0;
  std::uint32_t fresh_ = 0;
  Link free_head_ = kNoLink;
};

}  // namespace residentkv
