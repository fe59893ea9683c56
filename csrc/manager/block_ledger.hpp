#pragma once
// Who holds which logical block. Joins the pool (who may be evicted), the index (what is equal) and the regions (what was promised), and
// writes the events of what happens to blocks and claims. Knows requests only as the row that fills a planned node.
//
// The life of a logical block (node):
//   planned    named by a protecting claim, not computed: one block of the claims' reservation stands behind it ("reserved"), or a request
//              computes it in a block it already holds ("filling")
//   backed     computed and indexed; its block is held, cached, soft or resident
//
// Invariants (docs/invariants.md): INV-1, INV-2 of the pool.  INV-4: claims_reservation.remaining() == planned protected nodes that nobody
// fills.  INV-5: a backed node has a backed parent.  INV-6: regions and holds agree.  INV-7: a node and its block name each other.
// Complexity: O(1) a block unless said otherwise. Thread safety: none; the owner (BlockManager) serialises calls.
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "alloc/block_pool.hpp"
#include "alloc/deadline_watch.hpp"
#include "alloc/region_table.hpp"
#include "core/event_log.hpp"
#include "core/ids.hpp"
#include "prefix/prefix_index.hpp"

namespace residentkv {

// A claim's survival, counted over its footprint.
struct Survival {
  std::uint32_t num_surviving = 0;  // computed nodes
  std::uint32_t num_leading = 0;    // computed nodes before the first that is not
};

// A claim's transition that no caller asked for.
struct ClaimNotice {
  ClaimId claim;
  EventKind kind;  // kClaimMaterialized | kClaimHarmed
};

class BlockLedger {
 public:
  struct Options {
    std::uint32_t usable_blocks;
    std::uint32_t block_size;
    bool null_block;
    std::uint64_t hash_seed;
    bool block_events;
    bool retain_events;
  };
  explicit BlockLedger(Options options);

  [[nodiscard]] BlockPool& pool() noexcept { return pool_; }
  [[nodiscard]] BlockPool const& pool() const noexcept { return pool_; }
  [[nodiscard]] PrefixIndex& index() noexcept { return index_; }
  [[nodiscard]] PrefixIndex const& index() const noexcept { return index_; }
  [[nodiscard]] RegionTable& regions() noexcept { return regions_; }
  [[nodiscard]] RegionTable const& regions() const noexcept { return regions_; }
  [[nodiscard]] EventLog& events() noexcept { return events_; }
  [[nodiscard]] DeadlineWatch& deadlines() noexcept { return deadlines_; }
  [[nodiscard]] DeadlineWatch const& deadlines() const noexcept { return deadlines_; }

  void set_now(std::int64_t now_ns) noexcept { now_ns_ = now_ns; }
  [[nodiscard]] std::int64_t now_ns() const noexcept { return now_ns_; }

  // --- counts, in blocks ---
  [[nodiscard]] std::uint32_t num_protected() const noexcept { return num_protected_; }  // |P|
  [[nodiscard]] std::uint32_t num_filling() const noexcept { return num_filling_; }
  // |P u held by requests|: a resident block in use and a block that fills a planned node are one logical block each.
  [[nodiscard]] std::uint32_t num_protected_or_held() const noexcept {
    return num_protected_ + pool_.num_active() - pool_.num_resident_active() - num_filling_;
  }

  // --- nodes ---
  [[nodiscard]] bool is_backed(NodeId node) const noexcept { return index_.block(node) != kNoBlock; }
  [[nodiscard]] bool is_protected(NodeId node) const noexcept {
    NodeHold const* const hold = regions_.hold(node);
    return hold != nullptr && hold->is_protected();
  }
  // Planned, protected and nobody computes it: whoever reaches it first fills it.
  [[nodiscard]] bool is_reserved(NodeId node) const noexcept {
    NodeHold const* const hold = regions_.hold(node);
    return hold != nullptr && hold->is_protected() && hold->filler == kNoRow && !is_backed(node);
  }

  // --- for requests ---
  // A block for `request`, evicting the oldest victim if none is free; what the eviction does to claims is recorded right after it.
  [[nodiscard]] BlockId take(Reservation& from, RequestKey request);
  // A block to compute the reserved `node` in, drawn from the claims' reservation.  REQUIRES: is_reserved(node).
  [[nodiscard]] BlockId take_to_fill(NodeId node, RowId filler, RequestKey request);
  // The filler ended early: the node is reserved again.  REQUIRES: its block was released, filler == the node's filler.
  void reserve_again(NodeId node);

  struct Published {
    NodeId node = kNoNode;          // kNoNode: not published (absent and may_create is false)
    BlockId block = kNoBlock;       // canonical: the request's own, or the one that was there first, now also held by the request
    bool is_new = false;            // the node did not exist before
    RowId stopped_filler = kNoRow;  // the request that had been filling the node until now
  };
  enum class Absent : std::uint8_t { kCreate, kLeave };  // what to do with content that no claim planned
  // A parent that was just created has no children yet, which saves looking for one.
  enum class Parent : std::uint8_t { kKnown, kJustCreated };
  // The request computed `block`, whose content is `content` after `parent`.  REQUIRES: the request holds parent's block and `block`.
  [[nodiscard]] Published publish(NodeId parent, ChainBlock const& content, BlockId block, Absent absent, Parent parent_is,
                                  RequestKey request);

  // --- for claims ---
  struct NewRegion {
    RootId root;
    std::span<std::int32_t const> tokens;  // [footprint * block_size]
    std::span<ExtraId const> extras;       // per block, may be shorter
    std::uint32_t predicate_start;
    std::uint32_t predicate_end;
    ClaimMode mode;
    std::span<NodeId const> known_nodes;  // the chain's existing nodes, as walk() found them
    std::span<RowId const> fillers;       // per block: who already computes it (kNoRow: nobody)
  };
  // Records acceptance, names and protects the nodes, reserves the missing ones.  REQUIRES: the caller found room.  O(footprint).
  ClaimId accept(NewRegion const& region);
  // A planned node and the request that was computing it for the claims.
  struct Filling {
    NodeId node;
    RowId row;
  };
  // Records `ended_by` (demoted, expired, released), then ends protection: what nobody protects any more may be evicted from now on. Adds
  // to `stopped` the nodes that no claim wants filled any more. Returns the event's sequence number.  O(footprint).
  std::uint64_t end(ClaimId claim, EventKind ended_by, std::vector<Filling>& stopped);
  [[nodiscard]] Survival survival(Region const& region) const;
  [[nodiscard]] std::vector<ClaimNotice> take_notices() { return std::exchange(notices_, {}); }

  // --- faults ---
  // Declares nodes bad: they and their descendants are forgotten and their blocks freed; materialized claims that reach past a bad position
  // are harmed, the others plan their lost nodes anew (Note [Invalidation]).  `lost`: with_descendants(bad).  REQUIRES: nobody holds the
  // blocks of `lost` or fills one of them.  O(nodes + sum of footprints).
  void invalidate(std::span<NodeId const> bad, std::span<NodeId const> lost, std::uint16_t cause);
  void drop_index();  // REQUIRES: no claims, no request holds an indexed block.  O(nodes).
  // `bad` and all descendants, parents first.  O(nodes).
  [[nodiscard]] std::vector<NodeId> with_descendants(std::span<NodeId const> bad) const;

  void check_accounting() const { pool_.check_accounting(); }  // O(1)
  void check() const;                                          // every invariant.  O(blocks + nodes + footprints).

 private:
  [[nodiscard]] Retention retention_of(NodeHold const* hold) const noexcept;
  void unlink_victim(BlockPool::Taken const& taken, RequestKey request);
  void back(NodeId node, NodeHold* hold, BlockId block, RequestKey request);
  void harm(Region& region, RequestKey request, std::uint16_t cause, Survival after);
  void protect(NodeId node, RowId filler);
  enum class AfterEnd : std::uint8_t { kReportLosses, kForget };  // of blocks the claim had, should they be evicted later
  void release_region(ClaimId claim, AfterEnd after, std::vector<Filling>& stopped);
  void unname(NodeId node, ClaimId claim, ClaimMode mode, AfterEnd after, std::vector<Filling>& stopped);
  void forget_upwards(NodeId node);
  std::uint64_t record_claim(EventKind kind, Region const& region, Survival survival, RequestKey request = kNoRequest,
                             std::uint16_t cause = 0, bool before = false);
  struct Replan;
  [[nodiscard]] Replan take_out(Region& region, std::size_t from, std::vector<Filling>& stopped);
  void put_back(Replan const& replan);
  void forget_lost(std::span<NodeId const> lost);
  [[nodiscard]] ClaimId naming_claim(NodeHold& hold);
  void record_block(EventKind kind, ClaimId claim, NodeId node, BlockId block, RequestKey request, std::uint16_t cause = 0);

  Options options_;
  BlockPool pool_;
  PrefixIndex index_;
  RegionTable regions_;
  DeadlineWatch deadlines_;
  EventLog events_;
  Reservation claims_reservation_;  // one block per planned protected node that nobody fills
  std::vector<ClaimNotice> notices_;
  std::uint32_t num_protected_ = 0;
  std::uint32_t num_filling_ = 0;
  std::int64_t now_ns_ = 0;
};

}  // namespace residentkv
