#include <algorithm>
#include <array>
#include <cstring>

#include "manager/block_manager.hpp"

namespace residentkv {

std::variant<PlannedStep, Shortage> BlockManager::plan_step(std::span<std::int32_t const> rows, std::span<std::int32_t const> counts,
                                                            std::int64_t now_ns, StepTarget const* target) {
  RKV_REQUIRE(rows.size() == counts.size() && !rows.empty(), "rows and num_tokens need the same length > 0, have ", rows.size(), " and ",
              counts.size());
  RKV_REQUIRE(num_steps_in_flight() < 2, "two steps are in flight: commit or fail step ", in_flight_.front(), " first");
  RKV_REQUIRE(rows.size() <= requests_.size(), "the batch names ", rows.size(), " rows, but only ", requests_.size(), " are admitted");
  ledger_.set_now(now_ns);
  std::uint64_t const number = num_planned_ + 1;

  // First look, then touch: either every row gets its slots or nothing happens.
  std::uint32_t needed = 0;
  std::uint64_t num_tokens = 0;
  std::uint32_t const available = ledger_.pool().num_available();
  std::uint32_t const mark = ++num_plan_calls_;
  bool any_growth = false;
  Shortage shortage;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::int32_t const number_of_row = rows[i];
    RKV_REQUIRE(number_of_row >= 0 && number_of_row < static_cast<std::int64_t>(requests_.row_limit()), "row ", number_of_row,
                " is no admitted request");
    RowId const id{static_cast<std::uint32_t>(number_of_row)};
    Row& row = requests_.row(id);
    RKV_REQUIRE(row.status == RequestStatus::kRunning, "row ", number_of_row, " is not running");
    RKV_REQUIRE(row.step_mark != mark, "row ", number_of_row, " is in the batch twice");
    row.step_mark = mark;
    RKV_REQUIRE(counts[i] > 0, "num_tokens=", counts[i], " of row ", number_of_row, " must be > 0");
    auto const count = static_cast<std::uint32_t>(counts[i]);
    num_tokens += count;
    if (row.num_planned + std::uint64_t{count} <= row.room && !row.shares_blocks) [[likely]]
      continue;
    Growth const more = growth(id, count);
    if (more.is_refused) {
      if (shortage.refused_row == kNoRow) shortage.refused_row = id;
      continue;
    }
    any_growth = true;
    needed += more.num_blocks;
    if (needed > available) shortage.rows.push_back(id);
  }
  RKV_REQUIRE(target == nullptr || (target->num_rows >= rows.size() && target->num_tokens >= num_tokens), "out holds ",
              target == nullptr ? 0 : target->num_rows, " rows and ", target == nullptr ? 0 : target->num_tokens, " slots, the step needs ",
              rows.size(), " and ", num_tokens);
  Moment const moment{.step = static_cast<std::int64_t>(number),
                      .allocations = static_cast<std::int64_t>(ledger_.pool().num_allocations() + needed),
                      .now_ns = now_ns};
  if (ledger_.deadlines().would_cross(moment)) [[unlikely]] {
    crossed_ = moment;
    shortage.deadline_due = true;
    return shortage;
  }
  if (needed > available || shortage.refused_row != kNoRow) [[unlikely]] {
    shortage.shortfall = needed > available ? needed - available : 0;
    return shortage;
  }

  ++version_;
  ++num_planned_;
  RKV_INVARIANT(in_flight_.empty() || in_flight_.back() < number, "INV-10: step ", number, " planned after step ", in_flight_.back());
  in_flight_.push_back(number);
  StepBuffers::Set& set = buffers_.set(number);
  set.copies.clear();
  if (any_growth) {
    std::optional<Reservation> reservation = ledger_.pool().reserve(needed);
    RKV_INVARIANT(reservation.has_value(), "INV-2: planned ", needed, " blocks without room");
    for (std::size_t i = 0; i < rows.size(); ++i) {
      RowId const id{static_cast<std::uint32_t>(rows[i])};
      auto const count = static_cast<std::uint32_t>(counts[i]);
      Row const& row = requests_.row(id);
      if (row.num_planned + count > row.room || row.shares_blocks) grow(id, count, *reservation, set.copies);
    }
  }
  auto const set_bit = static_cast<std::uint8_t>(1U << (number % StepBuffers::kNumSets));
  Step& planned = step(number);
  planned.entries.resize(rows.size());
  std::int32_t* slot = target != nullptr ? target->slot_mapping : set.slot_mapping.data();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RowId const id{static_cast<std::uint32_t>(rows[i])};
    auto const count = static_cast<std::uint32_t>(counts[i]);
    Row& row = requests_.row(id);
    planned.entries[i] = {.row = id, .first = row.num_planned, .count = count, .epoch = row.epoch};
    if (count == 1 && row.block_left > 0) {
      *slot++ = static_cast<std::int32_t>(row.next_slot++);
      --row.block_left;
      ++row.num_planned;
    } else {
      slot = map_slots(id, count, slot);
    }
    ++row.num_in_flight;
    set.rows[i] = rows[i];
    set.context_lens[i] = static_cast<std::int32_t>(row.num_planned);
    if (target == nullptr && (row.stale_sets & set_bit) != 0) [[unlikely]] {
      buffers_.sync(set, id, requests_.request(id).blocks);
      row.stale_sets = static_cast<std::uint8_t>(row.stale_sets & ~set_bit);
    }
  }
  if (target != nullptr) write_target(*target, rows);
  if (any_growth) ledger_.check_accounting();
  return PlannedStep{
      .step = StepId{number}, .num_rows = static_cast<std::uint32_t>(rows.size()), .num_tokens = static_cast<std::uint32_t>(num_tokens)};
}

// What planning `count` tokens more needs beyond the blocks held.
BlockManager::Growth BlockManager::growth(RowId id, std::uint32_t count) {
  Row const& row = requests_.row(id);
  Request const& request = requests_.request(id);
  std::uint64_t const end = row.num_planned + std::uint64_t{count};
  if (end > request.token_limit) {
    RKV_REQUIRE(!request.is_bounded, "row ", index_of(id), " would reach ", end,
                " tokens, but prompt + max_new_tokens=", request.token_limit, ": more tokens than were declared");
    RKV_REQUIRE(blocks_for(end, options_.block_size) <= options_.max_blocks_per_request, "row ", index_of(id), " would need ",
                blocks_for(end, options_.block_size), " blocks, but max_blocks_per_request=", options_.max_blocks_per_request);
    std::uint64_t const peak = blocks_for(end, options_.block_size);
    std::uint64_t const together = ledger_.num_protected() + peak;
    if (peak > options_.usable_blocks ||
        (together > options_.usable_blocks && together - num_protected_on_chain(id) > options_.usable_blocks)) {
      return {.num_blocks = 0, .is_refused = true};
    }
  }
  std::uint32_t const num_blocks = blocks_for(end, options_.block_size);
  auto const num_held = static_cast<std::uint32_t>(request.blocks.size());
  Growth more{.num_blocks = num_blocks > num_held ? num_blocks - num_held : 0, .is_refused = false};
  if (row.shares_blocks) {
    for (std::uint32_t i = row.num_planned / options_.block_size; i < std::min(num_blocks, num_held); ++i) {
      more.num_blocks += ledger_.pool().ref_count(request.blocks[i]) > 1;
    }
  }
  return more;
}

void BlockManager::grow(RowId id, std::uint32_t count, Reservation& reservation, std::vector<BlockCopy>& copies) {
  Row& row = requests_.row(id);
  Request& request = requests_.request(id);
  std::uint32_t const num_blocks = blocks_for(row.num_planned + std::uint64_t{count}, options_.block_size);
  if (row.shares_blocks) {
    std::uint32_t const first = row.num_planned / options_.block_size;
    for (std::uint32_t i = first; i < std::min<std::size_t>(num_blocks, request.blocks.size()); ++i) {
      BlockId const shared = request.blocks[i];
      if (ledger_.pool().ref_count(shared) == 1) continue;
      BlockId const own = ledger_.take(reservation, request.key);
      request.blocks[i] = own;
      ledger_.pool().release(shared);
      touch_table(id, i);
      if (i == first && row.num_planned % options_.block_size != 0) {  // only what is already written in the block is worth copying
        copies.push_back({.source = static_cast<std::int32_t>(index_of(shared)), .target = static_cast<std::int32_t>(index_of(own))});
      }
    }
  }
  touch_table(id, static_cast<std::uint32_t>(request.blocks.size()));
  while (request.blocks.size() < num_blocks) request.blocks.push_back(ledger_.take(reservation, request.key));
  request.peak_blocks = std::max(request.peak_blocks, num_blocks);
  if (!request.is_bounded) request.token_limit = request.peak_blocks * options_.block_size;
  requests_.seek(id);
}

// Writes the slots of the row's next `count` positions and moves past them.  REQUIRES: blocks are held for them.
std::int32_t* BlockManager::map_slots(RowId id, std::uint32_t count, std::int32_t* slot) noexcept {
  Row& row = requests_.row(id);
  Request const& request = requests_.request(id);
  while (count > 0) {
    if (row.block_left == 0) {
      row.next_slot = index_of(request.blocks[row.num_planned / options_.block_size]) * options_.block_size;
      row.block_left = options_.block_size;
    }
    std::uint32_t const run = std::min(count, row.block_left);
    auto first = static_cast<std::int32_t>(row.next_slot);
    std::uint32_t i = 0;
    for (; i + 4 <= run; i += 4, first += 4) {  // four at a time: one vector store
      std::array<std::int32_t, 4> const four{first, first + 1, first + 2, first + 3};
      std::memcpy(slot + i, four.data(), sizeof(four));
    }
    for (; i < run; ++i) slot[i] = first++;
    slot += run;
    row.next_slot += run;
    row.block_left -= run;
    row.num_planned += run;
    count -= run;
  }
  return slot;
}

void BlockManager::write_target(StepTarget const& target, std::span<std::int32_t const> rows) const noexcept {
  std::int32_t const padding = buffers_.options().padding;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<BlockId> const& blocks = requests_.request(RowId{static_cast<std::uint32_t>(rows[i])}).blocks;
    std::int32_t* const entries = target.block_table + i * target.width;
    std::size_t const size = std::min(blocks.size(), target.width);
    for (std::size_t j = 0; j < size; ++j) entries[j] = static_cast<std::int32_t>(index_of(blocks[j]));
    std::fill(entries + size, entries + target.width, padding);
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
  std::size_t const num_rows = committed.entries.size();
  RKV_REQUIRE(num_valid.empty() || num_valid.size() == num_rows, "num_valid has ", num_valid.size(), " entries, the step has ", num_rows,
              " rows");
  std::uint64_t unknown = 0;
  for (std::size_t i = 0; i < num_rows; ++i) {
    Step::Entry const& entry = committed.entries[i];
    if (!num_valid.empty()) {
      RKV_REQUIRE(num_valid[i] >= 0 && static_cast<std::uint32_t>(num_valid[i]) <= entry.count, "num_valid[", i, "]=", num_valid[i],
                  " must be between 0 and the ", entry.count, " tokens planned");
    }
    unknown += num_unknown(entry, num_valid.empty() ? entry.count : static_cast<std::uint32_t>(num_valid[i]));
  }
  RKV_REQUIRE(token_ids.size() == unknown, "token_ids has ", token_ids.size(), " ids, but ", unknown,
              " written tokens are unknown: pass the ids of written tokens beyond the prompt, in batch order");
  std::int32_t negative = 0;
  for (std::int32_t const token : token_ids) negative |= token;
  RKV_REQUIRE(negative >= 0, "token_ids must be >= 0");

  ++version_;
  in_flight_.erase(in_flight_.begin());
  replaced_.clear();
  std::int32_t const* next_token = token_ids.data();
  for (std::size_t i = 0; i < num_rows; ++i) {
    Step::Entry const& entry = committed.entries[i];
    commit_entry(entry, num_valid.empty() ? entry.count : static_cast<std::uint32_t>(num_valid[i]), next_token);
  }
  for (BlockId const block : committed.given_back) ledger_.pool().release(block);
  committed.given_back.clear();
  ledger_.check_accounting();
  return replaced_;
}

void BlockManager::commit_entry(Step::Entry const& entry, std::uint32_t num_valid, std::int32_t const*& token_ids) {
  Row& row = requests_.row(entry.row);
  std::uint32_t const num_new = num_unknown(entry, num_valid);
  --row.num_in_flight;
  if (row.epoch == entry.epoch) [[likely]] {
    if (row.num_known + num_new > row.token_capacity) make_token_room(entry.row, num_new);
    for (std::uint32_t i = 0; i < num_new; ++i) row.tokens[row.num_known + i] = token_ids[i];
    row.num_known += num_new;
    row.num_written = entry.first + num_valid;
    RKV_INVARIANT(row.num_written <= row.num_planned, "INV-8: row ", index_of(entry.row), ": written=", row.num_written,
                  " planned=", row.num_planned);
    if (num_valid < entry.count) {  // rejected: the slots are planned again, and what was planned beyond them is void
      row.num_planned = row.num_written;
      ++row.epoch;
      requests_.seek(entry.row);
    }
    if (row.num_written >= row.publish_at) publish(entry.row);
  } else if (row.num_in_flight == 0 && row.status != RequestStatus::kRunning) {
    retire_row(entry.row);
  }
  token_ids += num_new;
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
    if (published.stopped_filler != kNoRow) std::erase(requests_.request(published.stopped_filler).fills, published.node);
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
    for (Step::Entry const& entry : failed.entries) {
      Row& row = requests_.row(entry.row);
      --row.num_in_flight;
      if (row.epoch == entry.epoch) {
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

}  // namespace residentkv
