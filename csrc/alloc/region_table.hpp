#pragma once
// Resident regions: which nodes each accepted claim names, and from the other side, who names a node.
//
// A region is the leading chain of nodes a claim covers. Nodes are shared between regions, so protection is counted at the node; a claim is
// anchored at the node that ends its predicate, because chains are filled from the head and given up from the tail: the predicate turns
// true when that node is computed and false when it is lost, and whoever loses a node looks at the claims anchored there and at nothing
// else.
//
// Invariants: (1) a hold's counters equal the number of regions, by mode, that name the node.  (2) A claim is anchored at exactly one node
// of its region.  (3) A hold exists only while a region names its node or an ended claim is remembered for it. Complexity: hold lookups
// O(1); region lookups O(log claims). Thread safety: none.
#include <cstdint>
#include <map>
#include <vector>

#include "core/ids.hpp"
#include "core/raw_array.hpp"

namespace residentkv {

enum class ClaimMode : std::uint8_t {
  kProtecting,  // hard_protected, offloadable, demotable, expiring: exempt from eviction
  kSoft,        // soft_priority: evicted after everything unclaimed
  kBestEffort,  // best_effort: watched, not protected
};

struct Region {
  ClaimId claim = kNoClaim;
  ClaimMode mode = ClaimMode::kProtecting;
  bool predicate_true = false;
  std::uint32_t predicate_start = 0;
  std::uint32_t predicate_end = 0;  // the predicate needs positions [predicate_start, predicate_end)
  std::vector<NodeId> nodes;        // the footprint, by position

  [[nodiscard]] NodeId anchor() const noexcept { return nodes[predicate_end - 1]; }
};

struct NodeHold {
  NodeId node = kNoNode;
  std::uint32_t num_protecting = 0;
  std::uint32_t num_soft = 0;
  std::uint32_t num_best_effort = 0;
  RowId filler = kNoRow;           // the request that is computing this planned node out of its reservation
  ClaimId last_claim = kNoClaim;   // the latest to name the node: whom per-block events name
  ClaimId ended_claim = kNoClaim;  // named it last and ended: whom a later loss is reported to
  std::vector<ClaimId> anchored;   // in acceptance order
  // Scratch of one conflict (manager/conflict.cpp): valid while stamp equals that conflict's number.
  std::uint64_t stamp = 0;
  std::uint32_t path_blocks = 0;
  std::uint32_t num_ended = 0;
  bool blocks_union = false;
  bool blocks_available = false;

  [[nodiscard]] bool is_named() const noexcept { return num_protecting + num_soft + num_best_effort > 0; }
  [[nodiscard]] bool is_protected() const noexcept { return num_protecting > 0; }
  [[nodiscard]] std::uint32_t& count(ClaimMode mode) noexcept {
    return mode == ClaimMode::kProtecting ? num_protecting : mode == ClaimMode::kSoft ? num_soft : num_best_effort;
  }
};

class RegionTable {
 public:
  using Regions = std::map<ClaimId, Region>;  // ids grow, so the order is the order of acceptance

  // Appends a region and names all its nodes.  O(footprint).
  Region& add(Region region);
  // Takes the region out. Its nodes stay named: the caller unnames them one by one and acts on each.  REQUIRES: known.  O(log claims).
  [[nodiscard]] Region remove(ClaimId claim);

  // One region more, or less, names the node.
  NodeHold& name(NodeId node, Region const& region);
  NodeHold& unname(NodeId node, ClaimId claim, ClaimMode mode);
  // Watches `node` for the claim's predicate.  REQUIRES: named by it.  O(claims anchored there).
  void anchor(NodeId node, ClaimId claim);
  void unanchor(NodeId node, ClaimId claim);

  [[nodiscard]] Region* find(ClaimId claim) noexcept {
    auto const found = regions_.find(claim);
    return found == regions_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] Regions& all() noexcept { return regions_; }
  [[nodiscard]] Regions const& all() const noexcept { return regions_; }

  [[nodiscard]] NodeHold* hold(NodeId node) noexcept {
    std::uint32_t const slot = index_of(node) < hold_of_node_.size() ? hold_of_node_[index_of(node)] : 0;
    return slot == 0 ? nullptr : &holds_[slot - 1];
  }
  [[nodiscard]] NodeHold const* hold(NodeId node) const noexcept { return const_cast<RegionTable*>(this)->hold(node); }
  void prefetch(NodeId node) const noexcept {  // a hint for whoever will ask for the hold of many nodes
    if (index_of(node) < hold_of_node_.size()) __builtin_prefetch(&hold_of_node_[index_of(node)]);
  }
  NodeHold& hold_or_make(NodeId node);
  void drop_hold(NodeId node) noexcept;  // REQUIRES: not named.

  [[nodiscard]] std::size_t num_holds() const noexcept { return holds_.size() - free_holds_.size(); }
  void expect_nodes(std::size_t num_nodes) { hold_of_node_.grow(num_nodes); }
  [[nodiscard]] std::size_t metadata_bytes() const noexcept { return hold_of_node_.size() * sizeof(std::uint32_t); }

  void check() const;  // O(sum of footprints + holds).  THROWS: InvariantError.

 private:
  Regions regions_;
  std::vector<NodeHold> holds_;
  std::vector<std::uint32_t> free_holds_;
  RawArray<std::uint32_t, Fill::kZero> hold_of_node_;  // hold number + 1; 0: none
  std::uint32_t next_claim_ = 0;
};

}  // namespace residentkv
