#pragma once
// The admitted requests. A Row is what every step touches (one cache line); a Request is the rest.
//
// A decode step looks at rows only: tokens up to easy_end can be planned by counting, and go to slot position + slot_shift. Whatever needs
// more thought (a block to take, a shared block, a limit, a row that is not running) makes easy_end equal num_planned.
//
// Token counts of a request: num_committed <= num_written <= num_planned, and num_known counts tokens whose ids are known (the prompt from
// the start). Positions [0, num_written) hold KV; full blocks of known, written tokens are published: request.nodes has one entry per
// published block, so num_committed = nodes.size() * block_size. Thread safety: none.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/check.hpp"
#include "core/ids.hpp"
#include "core/units.hpp"

namespace residentkv {

enum class RequestStatus : std::uint8_t {
  kUnused,
  kRunning,
  kPreempting,  // gives its blocks back when the steps in flight retire
  kPreempted,
  kRetiring,  // finished; gives its blocks and its row back when the steps in flight retire
};

struct alignas(64) Row {
  static constexpr std::uint32_t kNothingToPublish = std::numeric_limits<std::uint32_t>::max();
  std::int32_t* tokens = nullptr;  // [num_known], of Request::tokens
  std::uint32_t num_known = 0;
  std::uint32_t token_capacity = 0;
  std::uint32_t num_written = 0;
  std::uint32_t num_planned = 0;
  std::uint32_t easy_end = 0;    // num_planned <= easy_end: planning up to here stays within the block of position num_planned
  std::uint32_t slot_shift = 0;  // slot of a position below easy_end, minus the position (modulo 2^32)
  std::uint32_t publish_at = 0;  // written tokens that complete the next unpublished block
  std::uint32_t epoch = 0;       // changes when steps in flight become void for this row
  std::uint32_t step_mark = 0;   // low bits of the last step that names the row: a batch names it once
  std::uint16_t num_in_flight = 0;
  RequestStatus status = RequestStatus::kUnused;
  bool shares_blocks = false;  // after a fork: unpublished blocks may have another holder, and are copied before they are written
};
static_assert(sizeof(Row) == 64);

struct Request {
  RequestKey key = kNoRequest;
  RootId root{0};
  std::uint64_t admitted = 0;     // order of admission
  std::uint32_t num_fixed = 0;    // tokens no rewind forgets: the prompt, and full blocks known when it last resumed
  std::uint32_t peak_blocks = 0;  // |A(r)|
  std::uint32_t token_limit = 0;  // prompt + max_new_tokens; with is_bounded == false the end of peak_blocks, which may be raised
  bool is_bounded = false;        // max_new_tokens was given
  bool future_reuse = true;       // may what it computes enter the index
  std::uint64_t chain_hash = 0;   // of the published blocks
  std::vector<std::int32_t> tokens;
  std::vector<ExtraId> extras;  // per block, may be shorter; one reference each
  std::vector<BlockId> blocks;  // held, by position
  std::vector<NodeId> nodes;    // published, by position
  std::vector<NodeId> fills;    // planned nodes this request computes for their claims
};

class RequestTable {
 public:
  RequestTable(std::uint32_t max_requests, std::uint32_t block_size)
      : block_size_(block_size), rows_(max_requests), requests_(max_requests) {}

  [[nodiscard]] bool is_full() const noexcept { return free_.empty() && fresh_ == rows_.size(); }
  // A row for a new request.  REQUIRES: !is_full().
  RowId add() {
    RowId row{fresh_};
    if (free_.empty()) {
      ++fresh_;
    } else {
      row = free_.back();
      free_.pop_back();
    }
    ++num_requests_;
    requests_[index_of(row)].admitted = next_admitted_++;
    return row;
  }
  void remove(RowId row) {
    Row& hot = rows_[index_of(row)];
    hot.status = RequestStatus::kUnused;
    hot.num_known = 0;
    free_.push_back(row);
    --num_requests_;
  }

  [[nodiscard]] Row* rows() noexcept { return rows_.data(); }  // [row_limit()]
  [[nodiscard]] Row& row(RowId id) noexcept { return rows_[index_of(id)]; }
  [[nodiscard]] Row const& row(RowId id) const noexcept { return rows_[index_of(id)]; }
  [[nodiscard]] Request& request(RowId id) noexcept { return requests_[index_of(id)]; }
  [[nodiscard]] Request const& request(RowId id) const noexcept { return requests_[index_of(id)]; }
  [[nodiscard]] std::uint32_t size() const noexcept { return num_requests_; }
  [[nodiscard]] std::uint32_t num_preempted() const noexcept {  // O(rows)
    return static_cast<std::uint32_t>(std::ranges::count(rows_, RequestStatus::kPreempted, &Row::status));
  }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return static_cast<std::uint32_t>(rows_.size()); }
  [[nodiscard]] std::uint32_t row_limit() const noexcept { return fresh_; }  // every row ever used is below

  // The row of a caller's number.  THROWS: ContractError unless it names an admitted request that has not finished.
  [[nodiscard]] RowId admitted_row(std::int64_t number) const {
    RKV_REQUIRE(number >= 0 && number < fresh_ && is_admitted(rows_[static_cast<std::size_t>(number)].status), "row ", number,
                " is no admitted request: use the row that admit() answered, until finish()");
    return RowId{static_cast<std::uint32_t>(number)};
  }

  [[nodiscard]] static bool is_admitted(RequestStatus status) noexcept {
    return status == RequestStatus::kRunning || status == RequestStatus::kPreempting || status == RequestStatus::kPreempted;
  }

  // Sets where the next planned tokens go, from num_planned and the blocks held. Call after any of what it reads has changed.
  void seek(RowId id) noexcept {
    Row& row = rows_[index_of(id)];
    Request const& request = requests_[index_of(id)];
    std::uint32_t const index = row.num_planned / block_size_;
    row.easy_end = row.num_planned;
    if (row.status != RequestStatus::kRunning || row.shares_blocks || index >= request.blocks.size()) return;
    row.easy_end = std::max(row.num_planned, std::min((index + 1) * block_size_, request.token_limit));
    row.slot_shift = (index_of(request.blocks[index]) - index) * block_size_;
  }
  // Tokens that can be planned within the blocks held and the limit of the request.
  [[nodiscard]] std::uint64_t room(RowId id) const noexcept {
    Request const& request = requests_[index_of(id)];
    return std::min<std::uint64_t>(request.blocks.size() * std::uint64_t{block_size_}, request.token_limit);
  }
  void update_publish_at(RowId id) noexcept {
    rows_[index_of(id)].publish_at = static_cast<std::uint32_t>((requests_[index_of(id)].nodes.size() + 1) * block_size_);
  }

 private:
  std::uint32_t block_size_;
  std::vector<Row> rows_;
  std::vector<Request> requests_;
  std::vector<RowId> free_;
  std::uint32_t fresh_ = 0;
  std::uint32_t num_requests_ = 0;
  std::uint64_t next_admitted_ = 0;
};

}  // namespace residentkv
