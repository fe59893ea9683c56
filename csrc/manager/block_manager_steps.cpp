#include <algorithm>

#include "manager/block_manager.hpp"
#include "manager/victims_ahead.hpp"

namespace residentkv {

// Note [Easy rows]
// Rationale: nearly every row of nearly every decode step appends one token within its last block. What that takes is in its Row, so the
//   whole batch stays in the fastest cache; all other rows are looked at one by one.
// Approach: loops over runs of easy rows that do nothing else, because in one loop with the rest the compiler would keep half of its
//   variables in memory. Each stops at the first row that needs more thought, and the caller goes on behind it.

// The rows of a batch.
struct BlockManager::EasyRows {
  Row* rows;
  std::uint32_t row_limit;
  std::int32_t const* numbers;  // [size] of the batch
  std::size_t size;

  struct Places {
    Step::Entry* entries;        // [size]
    std::int32_t* slots;         // one for each row from the first on
    std::int32_t* context_lens;  // [size]
  };

  // Marks rows from `i` on as named by the batch, and adds their counts. Stops at one that is unknown, named twice, or not easy.
  [[nodiscard, gnu::noinline]] std::size_t mark(std::size_t i, std::int32_t const* counts, std::uint32_t mark,
                                                std::uint64_t& num_tokens) const noexcept {
    std::uint64_t sum = 0;
    for (; i < size; ++i) {
      auto const number = static_cast<std::uint32_t>(numbers[i]);
      if (number >= row_limit) break;
      Row& row = rows[number];
      auto const count = static_cast<std::uint32_t>(counts[i]);
      if (count - 1 >= row.easy_end - row.num_planned || row.step_mark == mark) break;  // counts below 1 are far too large here
      row.step_mark = mark;
      sum += count;
    }
    num_tokens += sum;
    return i;
  }

  // Plans one token of each row from `i` on. Stops at a row that is not easy.
  [[nodiscard, gnu::noinline]] std::size_t place(std::size_t i, std::int32_t const* counts, Places const to) const noexcept {
    std::int32_t* slot = to.slots;
    for (; i < size; ++i) {
      Row& row = rows[static_cast<std::uint32_t>(numbers[i])];
      std::uint32_t const first = row.num_planned;
      if (counts[i] != 1 || first >= row.easy_end) break;
      to.entries[i] = {.row = RowId{static_cast<std::uint32_t>(numbers[i])}, .first = first, .count = 1, .kept = 1, .epoch = row.epoch};
      *slot++ = static_cast<std::int32_t>(first + row.slot_shift);
      to.context_lens[i] = static_cast<std::int32_t>(first + 1);
      row.num_planned = first + 1;
      ++row.num_in_flight;
    }
    return i;
  }
};

// Of a decode step: how many of its tokens the caller has to name.
std::uint64_t BlockManager::num_plain_unknown(Row const* rows, std::span<Step::Entry const> entries) noexcept {
  std::uint64_t unknown = 0;
  for (Step::Entry const& entry : entries) unknown += rows[index_of(entry.row)].num_known <= entry.first;
  return unknown;
}

// Commits the tokens of a decode step from entry `i` on. Stops at one that is void, known already, or needs more room for tokens.
std::size_t BlockManager::commit_plain(Row* rows, std::span<Step::Entry const> entries, std::size_t i, std::int32_t const* token,
                                       std::vector<RowId>& publishing) {
  for (; i < entries.size(); ++i) {
    Step::Entry const& entry = entries[i];
    Row& row = rows[index_of(entry.row)];
    std::uint32_t const first = entry.first;
    if (row.epoch != entry.epoch || entry.kept != 1 || row.num_known != first || first >= row.token_capacity) break;
    row.tokens[first] = *token++;
    row.num_known = first + 1;
    row.num_written = first + 1;
    --row.num_in_flight;
    if (first + 1 >= row.publish_at) [[unlikely]]
      publishing.push_back(entry.row);
  }
  return i;
}

std::variant<PlannedStep, Shortage> BlockManager::plan_step(std::span<std::int32_t const> rows, std::span<std::int32_t const> counts,
                                                            std::int64_t now_ns, StepTarget const* target) {
  RKV_REQUIRE(rows.size() == counts.size() && !rows.empty(), "rows and num_tokens need the same length > 0, have ", rows.size(), " and ",
              counts.size());
  RKV_REQUIRE(in_flight_.size() < 2, "two steps are in flight: commit or fail step ", in_flight_.front(), " first");
  RKV_REQUIRE(rows.size() <= requests_.size(), "the batch names ", rows.size(), " rows, but only ", requests_.size(), " are admitted");
  ledger_.set_now(now_ns);

  // First look, then touch: either every row gets its slots or nothing happens.
  std::uint32_t const available = ledger_.pool().num_available();
  std::uint32_t const mark = ++num_plan_calls_;
  std::uint32_t needed = 0;
  std::uint64_t num_tokens = 0;
  Shortage shortage;
  growing_.clear();
  leaving_.clear();
  departures_.clear();
  EasyRows const easy{.rows = requests_.rows(), .row_limit = requests_.row_limit(), .numbers = rows.data(), .size = rows.size()};
  for (std::size_t i = easy.mark(0, counts.data(), mark, num_tokens); i < rows.size();
       i = easy.mark(i + 1, counts.data(), mark, num_tokens)) {
    RKV_REQUIRE(static_cast<std::uint32_t>(rows[i]) < easy.row_limit, "row ", rows[i], " is no admitted request");
    RowId const id{static_cast<std::uint32_t>(rows[i])};
    Row& row = requests_.row(id);
    RKV_REQUIRE(row.step_mark != mark, "row ", rows[i], " is in the batch twice");
    row.step_mark = mark;
    RKV_REQUIRE(row.status == RequestStatus::kRunning, "row ", rows[i], " is not running");
    RKV_REQUIRE(counts[i] > 0, "num_tokens=", counts[i], " of row ", rows[i], " must be > 0");
    auto const count = static_cast<std::uint32_t>(counts[i]);
    num_tokens += count;
    if (row.num_planned + std::uint64_t{count} <= requests_.room(id) && !row.shares_blocks) continue;
    Growth const more = growth(id, count);
    if (more.is_refused) {
      if (shortage.refused_row == kNoRow) shortage.refused_row = id;
      continue;
    }
    growing_.push_back(static_cast<std::uint32_t>(i));
    needed += more.num_blocks;
    if (more.num_blocks > 0 && needed > available) shortage.rows.push_back(id);
  }
  if (target != nullptr) check_target(*target, rows, counts, num_tokens);

  Moment moment = moment_now();
  shortage.deadline_due = crosses_deadline(moment);
  if (shortage.deadline_due) [[unlikely]]
    return shortage;
  if (needed > available || shortage.refused_row != kNoRow) [[unlikely]] {
    shortage.shortfall = needed > available ? needed - available : 0;
    return shortage;
  }
  moment.allocations += needed;
  shortage.deadline_due = crosses_deadline(moment);
  if (shortage.deadline_due) [[unlikely]]
    return shortage;

  ++version_;
  ++num_planned_;
  std::uint64_t const number = next_step_id();
  last_step_ = number;
  RKV_INVARIANT(in_flight_.empty() || in_flight_.back() < number, "INV-10: step ", number, " planned after step ", in_flight_.back());
  in_flight_.push_back(number);
  StepBuffers::Set& set = buffers_.set(number);
  set.step = number;
  set.copies.clear();
  Step& planned = step(number);
  if (!growing_.empty()) grow(rows, counts, needed, planned, set.copies);
  planned.is_decode = num_tokens == rows.size();
  planned.entries.resize(rows.size());
  std::ranges::copy(rows, set.rows.data());
  std::int32_t* slot = target != nullptr ? target->slot_mapping : set.slot_mapping.data();
  for (std::size_t i = 0;; ++i) {
    std::size_t const next =
        easy.place(i, counts.data(), {.entries = planned.entries.data(), .slots = slot, .context_lens = set.context_lens.data()});
    slot += next - i;
    i = next;
    if (i == rows.size()) break;
    RowId const id{static_cast<std::uint32_t>(rows[i])};
    auto const count = static_cast<std::uint32_t>(counts[i]);
    Row& row = requests_.row(id);
    planned.entries[i] = {.row = id, .first = row.num_planned, .count = count, .kept = count, .epoch = row.epoch};
    slot = map_slots(id, count, slot);
    ++row.num_in_flight;
    set.context_lens[i] = static_cast<std::int32_t>(row.num_planned);
  }
  if (target != nullptr) {
    write_target(*target, rows);
  } else {
    buffers_.sync(number, [this](RowId row) -> std::span<BlockId const> { return requests_.request(row).blocks; });
  }
  if (!growing_.empty()) ledger_.check_accounting();
  return PlannedStep{
      .step = StepId{number}, .num_rows = static_cast<std::uint32_t>(rows.size()), .num_tokens = static_cast<std::uint32_t>(num_tokens)};
}

// Ids grow, but need not follow one another: when younger steps fail while an older one stays in flight, its place is passed over.
std::uint64_t BlockManager::next_step_id() const noexcept {
  std::uint64_t id = last_step_ + 1;
  while (!in_flight_.empty() && id % StepBuffers::kNumSets == in_flight_.front() % StepBuffers::kNumSets) ++id;
  return id;
}

// What planning `count` tokens more needs beyond the blocks held. Notes departures from shared blocks.
BlockManager::Growth BlockManager::growth(RowId id, std::uint32_t count) {
  Row const& row = requests_.row(id);
  Request const& request = requests_.request(id);
  std::uint64_t const end = row.num_planned + std::uint64_t{count};
  if (end > request.token_limit) {
    RKV_REQUIRE(!request.is_bounded, "row ", index_of(id), " would reach ", end,
                " tokens, but prompt + max_new_tokens=", request.token_limit, ": more tokens than were declared");
    std::uint64_t const peak = (end + options_.block_size - 1) / options_.block_size;
    if (peak > options_.usable_blocks) return {.num_blocks = 0, .is_refused = true};
    RKV_REQUIRE(peak <= options_.max_blocks_per_request, "row ", index_of(id), " would need ", peak,
                " blocks, but max_blocks_per_request=", options_.max_blocks_per_request);
    std::uint64_t const together = ledger_.num_protected() + peak;
    if (together > options_.usable_blocks && together - num_protected_on_chain(id) > options_.usable_blocks) {
      return {.num_blocks = 0, .is_refused = true};
    }
  }
  std::uint32_t const num_blocks = blocks_for(end, options_.block_size);
  auto const num_held = static_cast<std::uint32_t>(request.blocks.size());
  Growth more{.num_blocks = num_blocks > num_held ? num_blocks - num_held : 0, .is_refused = false};
  for (std::uint32_t i = row.num_planned / options_.block_size; row.shares_blocks && i < std::min(num_blocks, num_held); ++i) {
    if (!must_leave(row, request.blocks[i])) continue;
    departures_.push_back({.row = id, .index = i, .shared = request.blocks[i], .own = kNoBlock});
    ++more.num_blocks;
  }
  return more;
}

// Does the row need a block of its own to write where `shared` is now? The last of its holders stays, unless it would overwrite what those
// who leave in the same step are about to copy: a failed step has to be repeatable.
bool BlockManager::must_leave(Row const& row, BlockId shared) {
  std::uint32_t const num_holders = ledger_.pool().ref_count(shared);
  if (num_holders == 1) return false;
  auto found = std::ranges::find(leaving_, shared, &Leaving::block);
  if (found == leaving_.end()) found = leaving_.insert(found, {.block = shared, .num_leaving = 0, .num_copied = 0});
  if (num_holders - found->num_leaving == 1 && row.num_planned >= found->num_copied) return false;
  ++found->num_leaving;
  found->num_copied = std::max(found->num_copied, row.num_planned);
  return true;
}

void BlockManager::grow(std::span<std::int32_t const> rows, std::span<std::int32_t const> counts, std::uint32_t num_blocks, Step& planned,
                        std::vector<BlockCopy>& copies) {
  std::optional<Reservation> reservation = ledger_.pool().reserve(num_blocks);
  RKV_INVARIANT(reservation.has_value(), "INV-2: planned ", num_blocks, " blocks without room");
  VictimsAhead ahead(ledger_, num_blocks);
  for (Step::Departure& departure : departures_) {
    Row const& row = requests_.row(departure.row);
    Request& request = requests_.request(departure.row);
    ahead.before_take();
    departure.own = ledger_.take(*reservation, request.key);
    request.blocks[departure.index] = departure.own;
    buffers_.touch(departure.row, departure.index);
    if (departure.index == row.num_planned / options_.block_size && row.num_planned % options_.block_size != 0) {
      copies.push_back({.source = static_cast<std::int32_t>(index_of(departure.shared)),  // only what is written is worth copying
                        .target = static_cast<std::int32_t>(index_of(departure.own))});
    }
    planned.departures.push_back(departure);
  }
  for (std::uint32_t const i : growing_) {
    RowId const id{static_cast<std::uint32_t>(rows[i])};
    Request& request = requests_.request(id);
    std::uint32_t const end = blocks_for(requests_.row(id).num_planned + static_cast<std::uint64_t>(counts[i]), options_.block_size);
    buffers_.touch(id, static_cast<std::uint32_t>(request.blocks.size()));
    while (request.blocks.size() < end) {
      ahead.before_take();
      request.blocks.push_back(ledger_.take(*reservation, request.key));
    }
    request.peak_blocks = std::max(request.peak_blocks, end);
    if (!request.is_bounded) request.token_limit = request.peak_blocks * options_.block_size;
    requests_.seek(id);
  }
}

std::uint32_t BlockManager::num_unknown(Step::Entry const& entry, std::uint32_t num_valid) const noexcept {
  std::uint32_t const known = std::max(requests_.row(entry.row).num_known, entry.first);
  std::uint32_t const written = entry.first + num_valid;
  return written > known ? written - known : 0;
}

std::span<Replaced const> BlockManager::commit_step(StepId id, std::span<std::int32_t const> num_valid,
                                                    std::span<std::int32_t const> token_ids) {
  RKV_REQUIRE(!in_flight_.empty() && in_flight_.front() == index_of(id), "step ", index_of(id),
              " can not be committed now: ", in_flight_.size(), " in flight, the next to retire is ",
              in_flight_.empty() ? 0 : in_flight_.front());
  Step& committed = step(index_of(id));
  std::span<Step::Entry const> const entries = committed.entries;
  RKV_REQUIRE(num_valid.empty() || num_valid.size() == entries.size(), "num_valid has ", num_valid.size(), " entries, the step has ",
              entries.size(), " rows");
  bool const is_plain_decode = committed.is_decode && num_valid.empty();
  std::uint64_t unknown = 0;
  if (is_plain_decode) {
    unknown = num_plain_unknown(requests_.rows(), entries);
  } else {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      std::uint32_t valid = entries[i].count;
      if (!num_valid.empty()) {
        RKV_REQUIRE(num_valid[i] >= 0 && static_cast<std::uint32_t>(num_valid[i]) <= valid, "num_valid[", i, "]=", num_valid[i],
                    " must be between 0 and the ", valid, " tokens planned");
        valid = static_cast<std::uint32_t>(num_valid[i]);
      }
      unknown += num_unknown(entries[i], valid);
    }
  }
  RKV_REQUIRE(token_ids.size() == unknown, "token_ids has ", token_ids.size(), " ids, but ", unknown,
              " written tokens are unknown: pass the ids of written tokens beyond the prompt, in batch order");
  std::int32_t any = 0;
  for (std::int32_t const token : token_ids) any |= token;
  RKV_REQUIRE(any >= 0, "token_ids must be >= 0");

  ++version_;
  in_flight_.erase(in_flight_.begin());
  replaced_.clear();
  publishing_.clear();
  std::int32_t const* next_token = token_ids.data();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (is_plain_decode) {
      std::size_t const next = commit_plain(requests_.rows(), entries, i, next_token, publishing_);
      next_token += next - i;
      i = next;
      if (i == entries.size()) break;
    }
    commit_entry(entries[i], num_valid.empty() ? entries[i].count : static_cast<std::uint32_t>(num_valid[i]), next_token);
  }
  publish_rows();
  for (Step::Departure const& departure : committed.departures) ledger_.pool().release(departure.shared);
  committed.departures.clear();
  for (BlockId const block : committed.given_back) ledger_.pool().release(block);
  committed.given_back.clear();
  ledger_.check_accounting();
  return replaced_;
}

void BlockManager::commit_entry(Step::Entry const& entry, std::uint32_t num_valid, std::int32_t const*& token_ids) {
  Row& row = requests_.row(entry.row);
  --row.num_in_flight;
  std::int32_t const* const tokens = token_ids;
  token_ids += num_unknown(entry, num_valid);
  if (row.epoch != entry.epoch || entry.kept == 0) {  // void: the row was preempted, finished or rewound, or an earlier draft was rejected
    if (row.num_in_flight == 0 && row.status != RequestStatus::kRunning) retire_row(entry.row);
    return;
  }
  std::uint32_t const num_kept = std::min(num_valid, entry.kept);
  std::uint32_t const num_new = num_unknown(entry, num_kept);
  if (row.num_known + num_new > row.token_capacity) make_token_room(entry.row, num_new);
  for (std::uint32_t i = 0; i < num_new; ++i) row.tokens[row.num_known + i] = tokens[i];
  row.num_known += num_new;
  row.num_written = entry.first + num_kept;
  RKV_INVARIANT(row.num_written <= row.num_planned, "INV-8: row ", index_of(entry.row), ": written=", row.num_written,
                " planned=", row.num_planned);
  if (num_kept < entry.kept) {  // rejected: the slots are planned again, and what was planned beyond them is void
    row.num_planned = row.num_written;
    ++row.epoch;
    requests_.seek(entry.row);
  }
  if (row.num_written >= row.publish_at) publishing_.push_back(entry.row);
}

void BlockManager::make_token_room(RowId id, std::uint32_t num_tokens) {
  Row& row = requests_.row(id);
  Request& request = requests_.request(id);
  request.tokens.resize(std::max<std::size_t>({request.tokens.size() * 2, std::size_t{row.num_known} + num_tokens, 64}));
  row.tokens = request.tokens.data();
  row.token_capacity = static_cast<std::uint32_t>(request.tokens.size());
}

std::vector<StepId> BlockManager::fail_step(StepId id) {
  auto const first_failed = std::ranges::find(in_flight_, index_of(id));
  RKV_REQUIRE(first_failed != in_flight_.end(), "step ", index_of(id), " is not in flight");
  ++version_;
  std::vector<StepId> result;
  for (auto number = first_failed; number != in_flight_.end(); ++number) result.push_back(StepId{*number});
  in_flight_.erase(first_failed, in_flight_.end());
  // Undo from the youngest: every entry takes its row back to where it was planned from.
  for (std::size_t i = result.size(); i-- > 0;) {
    Step& failed = step(index_of(result[i]));
    for (std::size_t j = failed.departures.size(); j-- > 0;) undo(failed.departures[j]);
    failed.departures.clear();
    for (Step::Entry const& entry : failed.entries) {
      Row& row = requests_.row(entry.row);
      --row.num_in_flight;
      if (row.epoch == entry.epoch && entry.kept > 0) {
        row.num_planned = entry.first;
        requests_.seek(entry.row);
      } else if (row.num_in_flight == 0 && row.status != RequestStatus::kRunning) {
        retire_row(entry.row);
      }
    }
    for (BlockId const block : failed.given_back) ledger_.pool().release(block);
    failed.given_back.clear();
  }
  ledger_.check_accounting();
  return result;
}

// The copy may never have been made: the row goes back to the shared block, and will leave it again.
void BlockManager::undo(Step::Departure const& departure) {
  std::vector<BlockId>& blocks = requests_.request(departure.row).blocks;
  if (departure.index < blocks.size() && blocks[departure.index] == departure.own) {
    blocks[departure.index] = departure.shared;
    ledger_.pool().release(departure.own);
    buffers_.touch(departure.row, departure.index);
    requests_.seek(departure.row);
  } else {  // rewound meanwhile
    ledger_.pool().release(departure.shared);
  }
}

}  // namespace residentkv
