#pragma once
// Requests over the ledger: admission, steps, claims, faults. Mechanism only: it answers with numbers and never chooses which claim gives
// way.
//
// A step is planned, run by the model, and committed or failed; at most two are in flight and they retire in order. Blocks named by a step
// in flight are not given to anybody else before it retires: finish, preempt and rewind wait for it, row by row.
//
// Invariants: those of the ledger (INV-1, 2, 4..7).  INV-8: num_committed <= num_written <= num_planned <= blocks held, per request. INV-9:
// a block's ref_count is the number of requests that hold it, plus the steps it waits for.  INV-10: steps retire in the order they were
// planned. Complexity: admit, resume, finish O(blocks of the request); plan and commit O(rows + new slots + new blocks); independent of the
// number of claims. Thread safety: none; bindings serialise calls (manager/gate.hpp). Strong guarantee for ContractError: thrown before
// anything changes.
#include <array>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "manager/block_ledger.hpp"
#include "manager/copy_holds.hpp"
#include "manager/decision.hpp"
#include "manager/request_table.hpp"
#include "manager/step_buffers.hpp"

namespace residentkv {

// Content a caller names. extras: one per full block, may be shorter; the caller keeps the references.
struct Content {
  RootId root{0};
  std::span<std::int32_t const> tokens;
  std::span<ExtraId const> extras;
};

// What a request wants of the pool.
struct Demand {
  Content content;
  std::uint32_t peak_blocks = 0;  // |A(r)|
};

// A caller's memory for a step's arrays, instead of the rotating sets.
struct StepTarget {
  std::int32_t* block_table = nullptr;  // [num_rows, width], in batch order
  std::size_t num_rows = 0;
  std::size_t width = 0;
  std::int32_t* slot_mapping = nullptr;  // [num_tokens]
  std::size_t num_tokens = 0;
};

struct PlannedStep {
  StepId step{0};
  std::uint32_t num_rows = 0;
  std::uint32_t num_tokens = 0;
};

// Why a step was not planned; nothing changed.
struct Shortage {
  bool deadline_due = false;
  std::uint32_t shortfall = 0;  // blocks
  std::vector<RowId> rows;      // without room, in batch order
  RowId refused_row = kNoRow;   // planned further than the claims leave it
};

// A row entry that now names the canonical block of its content.
struct Replaced {
  RowId row;
  std::uint32_t index;
  BlockId old_block;
  BlockId new_block;
};

enum class ClaimOutcome : std::uint8_t { kAccepted, kNoCapacity, kOverBudget };

struct ClaimRequest {
  Content content;  // tokens: exactly the footprint
  std::uint32_t predicate_start;
  std::uint32_t predicate_end;
  ClaimMode mode;
  std::uint32_t max_protected_blocks;  // the pool's budget for |P|
  Moment deadline;
};

struct ClaimAnswer {
  ClaimOutcome outcome = ClaimOutcome::kAccepted;
  ClaimId claim = kNoClaim;
  bool materialized = false;
  std::uint32_t protected_blocks = 0;             // |P u c|
  std::uint32_t protected_union_held_blocks = 0;  // |P u c u held|
  std::uint32_t largest_union_blocks = 0;         // max over admitted r of |P u c u A(r)|; at least |P u c|
};

enum class RestoreOutcome : std::uint8_t {
  kStarted,
  kNoRoom,       // P u c would not fit as acceptance demands (contract.md section 2)
  kBusy,         // somebody computes or restores a missing node: it will be there, or ask again
  kDeadlineDue,  // nothing decided: a claim's deadline has to be dealt with first
};

struct RestoreAnswer {
  RestoreOutcome outcome = RestoreOutcome::kStarted;
  CopyId copy = kNoCopy;
  std::uint64_t sequence = 0;  // of the event that says the claim has to come back
};

class BlockManager {
 public:
  struct Options {
    std::uint32_t usable_blocks;
    std::uint32_t block_size;
    bool null_block;
    std::uint32_t max_requests;
    std::uint32_t max_blocks_per_request;
    std::uint64_t hash_seed;
    bool block_events;
    bool retain_events;
  };
  explicit BlockManager(Options options);  // REQUIRES: positive sizes, slots fit int32.

  [[nodiscard]] Options const& options() const noexcept { return options_; }
  [[nodiscard]] BlockLedger& ledger() noexcept { return ledger_; }
  [[nodiscard]] RequestTable const& requests() const noexcept { return requests_; }
  [[nodiscard]] StepBuffers const& buffers() const noexcept { return buffers_; }
  [[nodiscard]] std::uint64_t num_steps_planned() const noexcept { return num_planned_; }
  [[nodiscard]] std::size_t num_steps_in_flight() const noexcept { return in_flight_.size(); }
  [[nodiscard]] std::uint64_t num_query_tokens() const noexcept { return num_query_tokens_; }
  [[nodiscard]] std::uint64_t num_hit_tokens() const noexcept { return num_hit_tokens_; }
  [[nodiscard]] std::size_t metadata_bytes() const noexcept;

  // --- requests (block_manager_requests.cpp) ---
  struct Admission {
    RequestKey key;
    Content content;
    std::int64_t max_new_tokens;  // negative: as planned so far
    bool future_reuse;
  };
  // Takes all blocks of the prompt, reusing what is cached, or changes nothing and says why not.
  [[nodiscard]] Decision admit(Admission const& admission, std::int64_t now_ns);
  [[nodiscard]] Decision fork(RowId parent, RequestKey key, std::int64_t now_ns);
  void preempt(RowId row);                                        // REQUIRES: running.
  [[nodiscard]] Decision resume(RowId row, std::int64_t now_ns);  // REQUIRES: preempted and no step in flight with it.
  void finish(RowId row);
  void rewind(RowId row, std::uint32_t num_tokens);  // REQUIRES: num_committed <= num_tokens <= num_planned, running.
  // What `demand` would be answered now; changes nothing.
  [[nodiscard]] Decision assess(Demand const& demand);
  [[nodiscard]] Demand demand_of(RowId row, std::uint32_t num_tokens) const;  // of an admitted request that grows by num_tokens
  [[nodiscard]] Demand demand_of(Content const& content, std::int64_t max_new_tokens) const;

  // --- steps (block_manager_steps.cpp) ---
  // The next counts[i] slots of rows[i], for every i, or nothing.  REQUIRES: rows running and distinct, counts positive and within what the
  // requests declared, fewer than two steps in flight.
  [[nodiscard]] std::variant<PlannedStep, Shortage> plan_step(std::span<std::int32_t const> rows, std::span<std::int32_t const> counts,
                                                              std::int64_t now_ns, StepTarget const* target);
  // The first num_valid[i] (empty: all) planned tokens of each row are written. token_ids: ids of those that are not known yet, in batch
  // order. REQUIRES: the oldest step in flight, as many ids as tokens unknown.  Returns replaced row entries, valid until the next call.
  [[nodiscard]] std::span<Replaced const> commit_step(StepId step, std::span<std::int32_t const> num_valid,
                                                      std::span<std::int32_t const> token_ids);
  // Nothing of the step was written. Later steps were planned on top of it and fail with it. Returns all that failed, oldest first.
  std::vector<StepId> fail_step(StepId step);

  // --- claims (block_manager_claims.cpp) ---
  [[nodiscard]] ClaimAnswer accept_claim(ClaimRequest const& request, std::int64_t now_ns);
  std::uint64_t end_claim(ClaimId claim, EventKind ended_by, std::int64_t now_ns);  // REQUIRES: live claim; demoted, expired or released.
  [[nodiscard]] std::vector<ClaimId> due_claims() const { return ledger_.deadlines().due(crossed_); }
  [[nodiscard]] Region& live_region(ClaimId claim);  // THROWS: ContractError unless live.

  // --- offload and restore (block_manager_offload.cpp); a caller copies, then says how it ended ---
  [[nodiscard]] HeldCopy const& copy(CopyId copy) const { return copies_.find(copy); }  // THROWS: ContractError unless in flight
  [[nodiscard]] std::size_t num_copies() const noexcept { return copies_.all().size(); }
  // Per claim: is it materialized on the device, not being copied, and would a predicate block leave.  O(1) a claim.
  [[nodiscard]] std::vector<bool> can_offload(std::span<ClaimId const> claims);
  // Holds the claim's computed blocks for a copy to read; it stays materialized meanwhile.  REQUIRES: materialized, no copy in flight.
  [[nodiscard]] CopyId begin_offload(ClaimId claim);
  // The copy is complete and verified: the claim is offloaded; returns the event's sequence number. 0, and nothing but the holds changed,
  // if by now no predicate block would leave.  REQUIRES: the claim is live.
  std::uint64_t finish_offload(CopyId copy, std::int64_t now_ns);
  // The claim that has to come back so that a request may reuse what it reaches: being restored already, or else the smallest offloaded one
  // that covers all offloaded nodes the request would reuse. kNoClaim: none.  O(blocks), O(claims) if the first missing one is offloaded.
  [[nodiscard]] ClaimId needed_restore(Content const& content);
  // Takes the claim into P again and blocks out of its reservation for the missing ones of its first `num_restorable` positions.
  // REQUIRES: offloaded, the predicate within them.  O(footprint + requests).
  [[nodiscard]] RestoreAnswer begin_restore(ClaimId claim, std::uint32_t num_restorable, std::uint32_t max_protected_blocks,
                                            std::int64_t now_ns);
  // Positions below `num_good` were copied and verified: they are committed. The claim is materialized again: returns the sequence number
  // of that event. 0: it ended meanwhile, or it is offloaded as before.
  std::uint64_t finish_restore(CopyId copy, std::uint32_t num_good, std::int64_t now_ns);
  // The copy ended without use, in either direction: its blocks are given back, a claim that waits for it is as before.
  void drop_copy(CopyId copy);
  // Ends a claim whose content is lost.  REQUIRES: offloaded or restoring.
  std::uint64_t harm_claim(ClaimId claim, std::uint16_t cause, std::int64_t now_ns);
  // Does the request hold everything the claim's predicate needs?  O(1).
  [[nodiscard]] bool reuses(RowId row, ClaimId claim);

  // --- faults (block_manager_faults.cpp) ---
  std::vector<RowId> invalidate(std::span<std::int32_t const> blocks, std::uint16_t cause,
                                std::int64_t now_ns);  // REQUIRES: no step and no restore in flight.
  std::vector<RowId> reset(std::int64_t now_ns);       // REQUIRES: no step in flight, no live claim.
  void check() const;                                  // every invariant.  O(blocks + nodes + footprints + rows).

 private:
  friend class Conflict;
  struct Step {
    struct Entry {
      RowId row;
      std::uint32_t first;  // position of the first planned token
      std::uint32_t count;
      std::uint32_t kept;   // leading tokens that no rewind has dropped since; 0: void
      std::uint32_t epoch;  // of the row when it was planned; another one: void
    };
    // A row that wrote to a shared block got its own, to be filled by a copy. The step holds the shared one until the copy is known to be
    // done.
    struct Departure {
      RowId row;
      std::uint32_t index;
      BlockId shared;
      BlockId own;
    };
    std::vector<Entry> entries;
    std::vector<Departure> departures;
    std::vector<BlockId> given_back;  // released when the step retires
    bool is_decode = false;           // one token a row
  };
  [[nodiscard]] Step& step(std::uint64_t number) noexcept { return steps_[number % StepBuffers::kNumSets]; }

  // One look at a demand: the chain's nodes are left in nodes_ and hashes_.
  struct Look {
    Decision decision;
    std::uint32_t num_reused = 0;
    std::uint32_t num_cached_reused = 0;
  };
  [[nodiscard]] Look look(Demand const& demand);
  [[nodiscard]] Outcome judge(Decision const& decision) const noexcept;
  void occupy(RowId row, Look const& look);
  void give_back(RowId row);
  void retire_row(RowId row);
  void stop_filling(std::span<BlockLedger::Filling const> stopped);
  void release_later(RowId row, BlockId block);
  [[nodiscard]] std::uint32_t num_protected_on_chain(RowId row);
  [[nodiscard]] bool has_room_to_restore(Region const& region, std::uint32_t max_protected_blocks);
  void check_copies(std::vector<std::uint32_t>& holders) const;
  void record_admission(Request const& request, Decision const& decision, std::uint64_t num_evicted);

  struct Growth {
    std::uint32_t num_blocks = 0;
    bool is_refused = false;
  };
  [[nodiscard]] Growth growth(RowId row, std::uint32_t count);
  [[nodiscard]] bool must_leave(Row const& row, BlockId shared);
  void grow(std::span<std::int32_t const> rows, std::span<std::int32_t const> counts, std::uint32_t num_blocks, Step& planned,
            std::vector<BlockCopy>& copies);
  [[nodiscard]] Moment moment_now() const noexcept;
  [[nodiscard]] bool crosses_deadline(Moment const& moment);  // remembers it for due_claims()
  std::int32_t* map_slots(RowId row, std::uint32_t count, std::int32_t* slot) noexcept;
  [[nodiscard]] std::uint64_t next_step_id() const noexcept;
  void check_target(StepTarget const& target, std::span<std::int32_t const> rows, std::span<std::int32_t const> counts,
                    std::uint64_t num_tokens) const;
  void write_target(StepTarget const& target, std::span<std::int32_t const> rows) const noexcept;
  void undo(Step::Departure const& departure);
  struct EasyRows;  // Note [Easy rows] in block_manager_steps.cpp
  [[nodiscard, gnu::noinline]] static std::uint64_t num_plain_unknown(Row const* rows, std::span<Step::Entry const> entries) noexcept;
  [[nodiscard, gnu::noinline]] static std::size_t commit_plain(Row* rows, std::span<Step::Entry const> entries, std::size_t i,
                                                               std::int32_t const* token, std::vector<RowId>& publishing);
  void commit_entry(Step::Entry const& entry, std::uint32_t num_valid, std::int32_t const*& token_ids);
  void make_token_room(RowId row, std::uint32_t num_tokens);
  // Ids of the step's valid tokens that the caller has to name, row by row.
  [[nodiscard]] std::uint32_t num_unknown(Step::Entry const& entry, std::uint32_t num_valid) const noexcept;
  class FullBlocks;
  void publish_rows();  // the full blocks of the rows in publishing_
  BlockLedger::Parent publish(RowId row, ChainBlock const& content, BlockLedger::Parent parent_is);

  Options options_;
  BlockLedger ledger_;
  RequestTable requests_;
  CopyHolds copies_;
  StepBuffers buffers_;
  std::array<Step, StepBuffers::kNumSets> steps_;
  std::uint64_t num_planned_ = 0;
  std::uint64_t last_step_ = 0;                               // its id
  std::uint32_t num_plan_calls_ = 0;                          // also those that were answered Shortage
  std::vector<std::uint64_t> in_flight_;                      // at most two, oldest first; numbers are never used twice
  Moment crossed_{.step = 0, .allocations = 0, .now_ns = 0};  // of the last call that was answered kDeadlineDue
  std::vector<Replaced> replaced_;
  std::vector<RowId> publishing_;  // scratch of commit_step: rows with a full block that is not published, in batch order
  struct Leaving {
    BlockId block;
    std::uint32_t num_leaving;
    std::uint32_t num_copied;  // tokens of the chain that the leaving rows copy
  };
  std::vector<std::uint32_t> growing_;       // scratch of plan_step: places in the batch that need blocks
  std::vector<Leaving> leaving_;             // scratch of plan_step: shared blocks, and who leaves them
  std::vector<Step::Departure> departures_;  // scratch of plan_step
  std::vector<NodeId> nodes_;                // scratch of look()
  std::vector<std::uint64_t> hashes_;
  std::uint64_t num_query_tokens_ = 0;
  std::uint64_t num_hit_tokens_ = 0;
  std::uint64_t num_conflicts_ = 0;
  std::uint64_t version_ = 0;  // changes with every change of state; a Conflict is valid for one
};

}  // namespace residentkv
