#pragma once
// Which claims stand in the way of one demand, block by block, and which of them would have to end (contract.md section 5).
//
// In the way, when the answer is Refused: a protected block that is not in A(r). When it is Deferred: a protected or reserved block that no
// running request holds and that r neither reuses nor fills.
//
// A claim's blocks lie on one path of the trie, and claims share paths: the count along a path is computed once per node, so all claims
// together cost O(claims + protected nodes), not O(sum of footprints). Valid until the manager changes; later use is a ContractError.
// Thread safety: none.
#include <cstdint>
#include <span>
#include <vector>

#include "manager/block_manager.hpp"

namespace residentkv {

class Conflict {
 public:
  // Of a new request.
  Conflict(BlockManager& manager, Demand const& demand);
  // Of an admitted request: a preempted one that resumes, or a running one that grows by `num_tokens`.
  Conflict(BlockManager& manager, RowId row, std::uint32_t num_tokens);
  // Of a child that would share everything `parent` has written.
  struct ForkOf {
    RowId parent;
  };
  Conflict(BlockManager& manager, ForkOf fork);

  [[nodiscard]] Decision const& decision() const noexcept { return decision_; }
  [[nodiscard]] std::span<ClaimId const> claims() const noexcept { return claims_; }       // by blocks descending, then by acceptance
  [[nodiscard]] std::span<std::int32_t const> blocks() const noexcept { return blocks_; }  // per claim: its blocks in the way

  // An inclusion-minimal set of claims whose end would admit the request: added in `order` until it fits, then dropped in reverse where not
  // needed. Empty when all of `order` is not enough.  REQUIRES: `order` names live protecting claims, each once.  O(their footprints).
  [[nodiscard]] std::vector<ClaimId> sufficient(std::span<ClaimId const> order);

 private:
  enum class Rule : std::uint8_t { kAdmission, kResume, kGrowth };
  Conflict(BlockManager& manager, Demand const& demand, Rule rule);
  void takes_only(std::uint32_t num_blocks);
  void find_blocking();
  void stamp_path(NodeId end);
  void stamp(NodeHold& hold, bool is_on_chain, bool is_usable_by_request, std::uint32_t blocks_before);
  [[nodiscard]] bool fits() const noexcept;
  void set_ended(ClaimId claim, std::int32_t change);

  BlockManager* manager_;
  Rule rule_;
  Decision decision_;
  std::uint32_t num_reused_ = 0;
  std::vector<NodeId> chain_;  // of the demand
  std::uint64_t version_;      // of the manager
  std::uint64_t stamp_;        // marks the holds this conflict has looked at
  std::vector<ClaimId> claims_;
  std::vector<std::int32_t> blocks_;
  std::vector<NodeId> path_;            // scratch
  std::uint32_t gained_union_ = 0;      // blocks that |P u A(r)| loses when the ended claims end
  std::uint32_t gained_available_ = 0;  // blocks that available(r) gains
};

}  // namespace residentkv
