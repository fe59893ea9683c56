#include <algorithm>
#include <array>

#include "manager/block_manager.hpp"

namespace residentkv {

std::variant<PlannedStep, Shortage> BlockManager::plan_step(std::span<std::int32_t const> rows, std::span<std::int32_t const> counts,
                                                            std::int64_t now_ns, StepTarget const* target) {
  RKV_REQUIRE(rows.size() == counts.size() && !rows.empty(), "rows and num_tokens need the same length > 0, have ", rows.size(), " and ",
              counts.size());
  RKV_REQUIRE(in_flight_.size() < 2, "two steps are in flight: commit or fail step ", in_flight_.front(), " first");
  RKV_REQUIRE(rows.size() <= requests_.size(), "the batch names ", rows.size(), " rows, but only ", requests_.size(), " are admitted");
  ledger_.set_now(now_ns);

  // First look, then touch: either every row gets its slots or nothing happens.
  Row* const all_rows = requests_.rows();
  std::uint32_t const row_limit = requests_.row_limit();
  std::uint32_t const available = ledger_.pool().num_available();
  std::uint32_t const mark = ++num_plan_calls_;
  std::uint32_t needed = 0;
  std::uint64_t num_tokens = 0;
  Shortage shortage;
  growing_.clear();
  leaving_.clear();
  departures_.clear();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::int32_t const number = rows[i];
    RKV_REQUIRE(static_cast<std::uint32_t>(number) < row_limit, "row ", number, " is no admitted request");
    Row& row = all_rows[number];
    RKV_REQUIRE(row.status == RequestStatus::kRunning, "row ", number, " is not running");
    RKV_REQUIRE(row.step_mark != mark, "row ", number, " is in the batch twice");
    row.step_mark = mark;
    RKV_REQUIRE(counts[i] > 0, "num_tokens=", counts[i], " of row ", number, " must be > 0");
    auto const count = static_cast<std::uint32_t>(counts[i]);
    num_tokens += count;
    if (row.num_planned + std::uint64_t{count} <= row.room && !row.shares_blocks) [[likely]]
      continue;
    RowId const id{static_cast<std::uint32_t>(number)};
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
  ++moment.step;
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
  Step::Entry* const entries = planned.entries.data();
  std::int32_t* const set_rows = set.rows.data();
  std::int32_t* const context_lens = set.context_lens.data();
  auto const set_bit = static_cast<std::uint8_t>(1U << (number % StepBuffers::kNumSets));
  std::int32_t* slot = target != nullptr ? target->slot_mapping : set.slot_mapping.data();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RowId const id{static_cast<std::uint32_t>(rows[i])};
    auto const count = static_cast<std::uint32_t>(counts[i]);
    Row& row = all_rows[rows[i]];
    entries[i] = {.row = id, .first = row.num_planned, .count = count, .kept = count, .epoch = row.epoch};
    if (count == 1 && row.block_left > 0) {
      *slot++ = static_cast<std::int32_t>(row.next_slot++);
      --row.block_left;
      ++row.num_planned;
    } else {
      slot = map_slots(id, count, slot);
    }
    ++row.num_in_flight;
    set_rows[i] = rows[i];
    context_lens[i] = static_cast<std::int32_t>(row.num_planned);
    if ((row.stale_sets & set_bit) != 0 && target == nullptr) [[unlikely]] {
      buffers_.sync(set, id, requests_.request(id).blocks);
      row.stale_sets = static_cast<std::uint8_t>(row.stale_sets & ~set_bit);
    }
  }
  if (target != nullptr) write_target(*target, rows);
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
    RKV_REQUIRE(peak <= options_.max_blocks_per_request, "row ", index_of(id), " would need ", peak,
                " blocks, but max_blocks_per_request=", options_.max_blocks_per_request);
    std::uint64_t const together = ledger_.num_protected() + peak;
    if (peak > options_.usable_blocks ||
        (together > options_.usable_blocks && together - num_protected_on_chain(id) > options_.usable_blocks)) {
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
  ledger_.prefetch_victims(num_blocks);
  for (Step::Departure& departure : departures_) {
    Row const& row = requests_.row(departure.row);
    Request& request = requests_.request(departure.row);
    departure.own = ledger_.take(*reservation, request.key);
    request.blocks[departure.index] = departure.own;
    touch_table(departure.row, departure.index);
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
    touch_table(id, static_cast<std::uint32_t>(request.blocks.size()));
    while (request.blocks.size() < end) request.blocks.push_back(ledger_.take(*reservation, request.key));
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
  Row* const all_rows = requests_.rows();
  bool const is_plain_decode = committed.is_decode && num_valid.empty();
  std::uint64_t unknown = 0;
  if (is_plain_decode) {
    for (Step::Entry const& entry : entries) unknown += all_rows[index_of(entry.row)].num_known <= entry.first;
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
  std::int32_t const* next_token = token_ids.data();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Step::Entry const& entry = entries[i];
    Row& row = all_rows[index_of(entry.row)];
    if (is_plain_decode && row.epoch == entry.epoch && entry.kept == 1 && row.num_known == entry.first &&
        row.num_known < row.token_capacity) [[likely]] {
      --row.num_in_flight;
      row.tokens[row.num_known++] = *next_token++;
      row.num_written = row.num_known;
      if (row.num_written >= row.publish_at) publish(entry.row);
    } else {
      commit_entry(entry, num_valid.empty() ? entry.count : static_cast<std::uint32_t>(num_valid[i]), next_token);
    }
  }
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
  if (row.num_written >= row.publish_at) publish(entry.row);
}

void BlockManager::make_token_room(RowId id, std::uint32_t num_tokens) {
  Row& row = requests_.row(id);
  Request& request = requests_.request(id);
  request.tokens.resize(std::max<std::size_t>({request.tokens.size() * 2, std::size_t{row.num_known} + num_tokens, 64}));
  row.tokens = request.tokens.data();
  row.token_capacity = static_cast<std::uint32_t>(request.tokens.size());
}

// Publishes the row's full blocks of known, written tokens. Stops for good at the first block that may not enter the index.
void BlockManager::publish(RowId id) {
  Row& row = requests_.row(id);
  Request& request = requests_.request(id);
  PrefixIndex const& index = ledger_.index();
  auto const absent = request.future_reuse ? BlockLedger::Absent::kCreate : BlockLedger::Absent::kLeave;
  NodeId parent = request.nodes.empty() ? PrefixIndex::root(request.root) : request.nodes.back();
  std::size_t const num_full = full_blocks(row.num_written, options_.block_size);
  auto parent_is = BlockLedger::Parent::kKnown;
  constexpr std::size_t kGroup = 16;  // hashed ahead, so that the heads of a group are fetched together
  std::array<ChainBlock, kGroup> group;
  std::size_t in_group = 0;
  std::size_t next = 0;
  while (request.nodes.size() < num_full) {
    std::size_t const i = request.nodes.size();
    if (next == in_group) {
      in_group = std::min(kGroup, num_full - i);
      next = 0;
      std::uint64_t hash = request.chain_hash;
      for (std::size_t j = 0; j < in_group; ++j) {
        ExtraId const extra = i + j < request.extras.size() ? request.extras[i + j] : kNoExtra;
        std::int32_t const* tokens = row.tokens + (i + j) * options_.block_size;
        hash = index.hash().next(hash, tokens, extra);
        group[j] = {.tokens = tokens, .extra = extra, .hash = hash};
        index.prefetch_head(hash);
      }
    }
    ChainBlock const& content = group[next++];
    BlockId const own = request.blocks[i];
    BlockLedger::Published const published = ledger_.publish(parent, content, own, absent, parent_is, request.key);
    if (published.node == kNoNode) {
      row.publish_at = Row::kNothingToPublish;
      return;
    }
    if (published.stopped_filler != kNoRow) {
      BlockLedger::Filling const filling{.node = published.node, .row = published.stopped_filler};
      stop_filling({&filling, 1});
    }
    if (published.block != own) {  // somebody was first: keep one copy of the content
      request.blocks[i] = published.block;
      touch_table(id, static_cast<std::uint32_t>(i));
      replaced_.push_back({.row = id, .index = static_cast<std::uint32_t>(i), .old_block = own, .new_block = published.block});
      release_later(id, own);
    }
    request.nodes.push_back(published.node);
    request.chain_hash = content.hash;
    parent = published.node;
    parent_is = published.is_new ? BlockLedger::Parent::kJustCreated : BlockLedger::Parent::kKnown;
  }
  requests_.update_publish_at(id);
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
    touch_table(departure.row, departure.index);
    requests_.seek(departure.row);
  } else {  // rewound meanwhile
    ledger_.pool().release(departure.shared);
  }
}

}  // namespace residentkv
