#include <algorithm>

#include "manager/block_manager.hpp"
#include "manager/victims_ahead.hpp"

namespace residentkv {

namespace {

BlockManager::Options checked(BlockManager::Options options) {
  RKV_REQUIRE(options.block_size > 0 && options.block_size <= 4096, "block_size=", options.block_size,
              " must be between 1 and 4096 tokens");
  RKV_REQUIRE(options.usable_blocks > 0, "usable_blocks=", options.usable_blocks, " must be > 0");
  std::uint64_t const slots = (std::uint64_t{options.usable_blocks} + 1) * options.block_size;
  RKV_REQUIRE(slots <= INT32_MAX, "usable_blocks=", options.usable_blocks, " x block_size=", options.block_size,
              " needs slot numbers beyond int32; use larger blocks or fewer");
  RKV_REQUIRE(options.max_requests > 0 && options.max_requests <= (1U << 20), "max_requests=", options.max_requests,
              " must be between 1 and 2^20");
  RKV_REQUIRE(options.max_blocks_per_request > 0 && options.max_blocks_per_request <= options.usable_blocks,
              "max_blocks_per_request=", options.max_blocks_per_request, " must be between 1 and usable_blocks=", options.usable_blocks);
  return options;
}

}  // namespace

BlockManager::BlockManager(Options options)
    : options_(checked(options)),
      ledger_({.usable_blocks = options.usable_blocks,
               .block_size = options.block_size,
               .null_block = options.null_block,
               .hash_seed = options.hash_seed,
               .block_events = options.block_events,
               .retain_events = options.retain_events}),
      requests_(options.max_requests, options.block_size),
      buffers_({.max_requests = options.max_requests,
                .max_blocks_per_request = options.max_blocks_per_request,
                .max_tokens = std::uint64_t{options.usable_blocks} * options.block_size,
                .padding = options.null_block ? 0 : -1}) {}

std::size_t BlockManager::metadata_bytes() const noexcept {
  return ledger_.pool().metadata_bytes() + ledger_.index().metadata_bytes() + ledger_.regions().metadata_bytes();
}

Demand BlockManager::demand_of(Content const& content, std::int64_t max_new_tokens) const {
  std::uint64_t const new_tokens = max_new_tokens < 0 ? 0 : static_cast<std::uint64_t>(max_new_tokens);
  std::uint64_t const tokens = std::min<std::uint64_t>(content.tokens.size() + new_tokens, UINT32_MAX);
  return {.content = content, .peak_blocks = blocks_for(tokens, options_.block_size)};
}

Demand BlockManager::demand_of(RowId id, std::uint32_t num_tokens) const {
  Row const& row = requests_.row(id);
  Request const& request = requests_.request(id);
  std::uint64_t const end = std::max<std::uint64_t>(std::uint64_t{row.num_planned} + num_tokens, row.num_known);
  std::uint32_t const grown = blocks_for(end, options_.block_size);
  return {.content = {.root = request.root, .tokens = {row.tokens, row.num_known}, .extras = request.extras},
          .peak_blocks = std::max(request.peak_blocks, grown)};
}

BlockManager::Look BlockManager::look(Demand const& demand) {
  nodes_.clear();
  hashes_.clear();
  ledger_.index().walk(demand.content.root, demand.content.tokens, demand.content.extras, nodes_, hashes_);

  BlockPool const& pool = ledger_.pool();
  std::size_t const num_tokens = demand.content.tokens.size();
  std::uint32_t const reusable = reusable_blocks(num_tokens, options_.block_size);
  Look look;
  Decision& decision = look.decision;
  std::uint32_t num_protected = 0;          // of A(r): in P
  std::uint32_t num_protected_or_held = 0;  // of A(r): in P, or held by a request
  std::size_t i = 0;
  for (; i < nodes_.size() && ledger_.is_backed(nodes_[i]); ++i) {
    BlockId const block = ledger_.index().block(nodes_[i]);
    bool const is_resident = pool.retention(block) == Retention::kResident;
    bool const is_held = pool.ref_count(block) > 0;
    num_protected += is_resident;
    num_protected_or_held += is_resident || is_held;
    if (i < reusable) {
      ++look.num_reused;
      look.num_cached_reused += !is_resident && !is_held;
    }
  }
  for (; i < nodes_.size(); ++i) {  // planned by claims
    bool const is_protected = ledger_.is_protected(nodes_[i]);
    num_protected += is_protected;
    num_protected_or_held += is_protected;
    decision.num_filled_blocks += ledger_.is_reserved(nodes_[i]);
  }

  decision.num_cached_tokens = look.num_reused * options_.block_size;
  decision.peak_blocks = demand.peak_blocks;
  decision.new_blocks = blocks_for(num_tokens, options_.block_size) - look.num_reused;
  decision.available_blocks =
      std::int64_t{pool.num_free()} + pool.num_cached() - pool.num_reserved() - look.num_cached_reused + decision.num_filled_blocks;
  decision.protected_blocks = ledger_.num_protected();
  decision.protected_union_peak_blocks = ledger_.num_protected() + demand.peak_blocks - num_protected;
  decision.resident_plus_active_blocks = ledger_.num_protected_or_held() + demand.peak_blocks - num_protected_or_held;
  decision.outcome = judge(decision);
  return look;
}

Outcome BlockManager::judge(Decision const& decision) const noexcept {
  if (decision.peak_blocks > options_.usable_blocks) return Outcome::kCapacityRequired;
  if (decision.protected_union_peak_blocks > options_.usable_blocks) return Outcome::kRefused;
  if (decision.new_blocks > decision.available_blocks) return Outcome::kDeferred;
  return Outcome::kAdmitted;
}

Moment BlockManager::moment_now() const noexcept {
  return {.step = static_cast<std::int64_t>(num_planned_) + 1,
          .allocations = static_cast<std::int64_t>(ledger_.pool().num_allocations()),
          .now_ns = ledger_.now_ns()};
}

bool BlockManager::crosses_deadline(Moment const& moment) {
  if (!ledger_.deadlines().would_cross(moment)) [[likely]]
    return false;
  crossed_ = moment;
  return true;
}

Decision BlockManager::assess(Demand const& demand) { return look(demand).decision; }

Decision BlockManager::admit(Admission const& admission, std::int64_t now_ns) {
  std::span<std::int32_t const> const tokens = admission.content.tokens;
  RKV_REQUIRE(!tokens.empty(), "a request needs at least one token");
  RKV_REQUIRE(!requests_.is_full(), "max_requests=", options_.max_requests, " requests are admitted (", requests_.size(),
              "); finish one first, or build the manager with more rows");
  ledger_.set_now(now_ns);
  Moment moment = moment_now();
  if (crosses_deadline(moment)) return {.outcome = Outcome::kDeadlineDue};
  Demand const demand = demand_of(admission.content, admission.max_new_tokens);
  Look decided = look(demand);
  if (decided.decision.outcome != Outcome::kAdmitted) return decided.decision;
  RKV_REQUIRE(demand.peak_blocks <= options_.max_blocks_per_request, "the request needs ", demand.peak_blocks,
              " blocks, but max_blocks_per_request=", options_.max_blocks_per_request);
  moment.allocations += decided.decision.new_blocks;
  if (crosses_deadline(moment)) return {.outcome = Outcome::kDeadlineDue};

  ++version_;
  RowId const id = requests_.add();
  Row& row = requests_.row(id);
  Request& request = requests_.request(id);
  request.key = admission.key;
  request.root = admission.content.root;
  request.num_fixed = static_cast<std::uint32_t>(tokens.size());
  request.peak_blocks = demand.peak_blocks;
  request.is_bounded = admission.max_new_tokens >= 0;
  request.token_limit = request.is_bounded ? request.num_fixed + static_cast<std::uint32_t>(admission.max_new_tokens)
                                           : demand.peak_blocks * options_.block_size;
  request.future_reuse = admission.future_reuse;
  request.tokens.assign(tokens.begin(), tokens.end());
  request.extras.assign(admission.content.extras.begin(), admission.content.extras.end());
  for (ExtraId const extra : request.extras) ledger_.index().extra_keys().retain(extra);
  row.tokens = request.tokens.data();
  row.num_known = request.num_fixed;
  row.token_capacity = static_cast<std::uint32_t>(request.tokens.size());
  std::uint64_t const evictions_before = ledger_.pool().num_evictions();
  occupy(id, decided);
  decided.decision.row = id;
  record_admission(request, decided.decision, ledger_.pool().num_evictions() - evictions_before);
  num_query_tokens_ += tokens.size();
  num_hit_tokens_ += decided.decision.num_cached_tokens;
  ledger_.check_accounting();
  return decided.decision;
}

// Holds what look() found and takes the rest. The order of the two matters: what is reused must not be its own victim.
void BlockManager::occupy(RowId id, Look const& look) {
  Row& row = requests_.row(id);
  Request& request = requests_.request(id);
  std::uint32_t const num_blocks = look.num_reused + look.decision.new_blocks;
  request.blocks.clear();
  request.blocks.reserve(num_blocks);
  for (std::uint32_t i = 0; i < look.num_reused; ++i) request.blocks.push_back(ledger_.index().block(nodes_[i]));
  ledger_.pool().retain_all(request.blocks);
  request.nodes.assign(nodes_.begin(), nodes_.begin() + look.num_reused);
  request.chain_hash = look.num_reused > 0 ? hashes_[look.num_reused - 1] : ledger_.index().hash().root(request.root);
  request.fills.clear();

  std::optional<Reservation> reservation = ledger_.pool().reserve(look.decision.new_blocks - look.decision.num_filled_blocks);
  RKV_INVARIANT(reservation.has_value(), "INV-2: admitted ", look.decision.new_blocks, " blocks without room");
  VictimsAhead ahead(ledger_, look.decision.new_blocks);
  for (std::uint32_t i = look.num_reused; i < num_blocks; ++i) {
    ahead.before_take();
    if (i < nodes_.size() && ledger_.is_reserved(nodes_[i])) {
      request.blocks.push_back(ledger_.take_to_fill(nodes_[i], id, request.key));
      request.fills.push_back(nodes_[i]);
    } else {
      request.blocks.push_back(ledger_.take(*reservation, request.key));
    }
  }
  row.num_written = look.decision.num_cached_tokens;
  row.num_planned = row.num_written;
  row.status = RequestStatus::kRunning;
  row.shares_blocks = false;
  requests_.seek(id);
  requests_.update_publish_at(id);
  buffers_.touch(id, 0);
}

void BlockManager::record_admission(Request const& request, Decision const& decision, std::uint64_t num_evicted) {
  EventRecord event{.sequence = 0, .timestamp_ns = ledger_.now_ns(), .request = request.key};
  event.position = static_cast<std::int32_t>(num_evicted);
  event.required = static_cast<std::int32_t>(decision.peak_blocks);
  event.materialized = static_cast<std::int32_t>(decision.num_cached_tokens / options_.block_size);
  event.leading = static_cast<std::int32_t>(decision.new_blocks);
  event.kind = EventKind::kRequestAdmitted;
  ledger_.events().record(event);
  event.kind = request.future_reuse ? EventKind::kFutureReuseAdmitted : EventKind::kFutureReuseDenied;
  ledger_.events().record(event);
}

Decision BlockManager::fork(RowId parent_id, RequestKey key, std::int64_t now_ns) {
  Row const& parent_row = requests_.row(parent_id);
  Request const& parent = requests_.request(parent_id);
  RKV_REQUIRE(parent_row.status == RequestStatus::kRunning && parent_row.num_in_flight == 0,
              "fork needs a running parent without a step in flight");
  RKV_REQUIRE(parent_row.num_written == parent_row.num_known, "fork needs all ", parent_row.num_known,
              " known tokens of the parent written, has ", parent_row.num_written);
  RKV_REQUIRE(!requests_.is_full(), "max_requests=", options_.max_requests, " requests are admitted");
  ledger_.set_now(now_ns);
  if (crosses_deadline(moment_now())) return {.outcome = Outcome::kDeadlineDue};
  // The child holds what the parent has written; a partial last block will cost whoever writes first one block more.
  std::uint32_t const num_shared = blocks_for(parent_row.num_written, options_.block_size);
  Decision decision = look(demand_of(parent_id, 0)).decision;
  decision.num_cached_tokens = parent_row.num_written;
  decision.num_filled_blocks = 0;
  decision.new_blocks = parent_row.num_written % options_.block_size != 0 ? 1 : 0;
  decision.available_blocks = ledger_.pool().num_available();
  decision.outcome = judge(decision);
  if (decision.outcome != Outcome::kAdmitted) return decision;

  ++version_;
  RowId const id = requests_.add();
  Row& row = requests_.row(id);
  Request& child = requests_.request(id);
  std::uint64_t const admitted = child.admitted;
  child = parent;  // a row never moves: requests_ is sized once
  child.key = key;
  child.admitted = admitted;
  child.fills.clear();
  child.blocks.resize(num_shared);
  ledger_.pool().retain_all(child.blocks);
  for (ExtraId const extra : child.extras) ledger_.index().extra_keys().retain(extra);
  std::uint32_t const epoch = row.epoch;
  row = parent_row;
  row.epoch = epoch;
  row.tokens = child.tokens.data();
  row.token_capacity = static_cast<std::uint32_t>(child.tokens.size());
  row.num_planned = row.num_written;
  row.shares_blocks = child.blocks.size() > child.nodes.size();
  requests_.row(parent_id).shares_blocks = row.shares_blocks;
  requests_.seek(parent_id);
  requests_.seek(id);
  buffers_.touch(id, 0);
  decision.row = id;
  record_admission(child, decision, 0);
  ledger_.check_accounting();
  return decision;
}

void BlockManager::preempt(RowId id) {
  Row& row = requests_.row(id);
  RKV_REQUIRE(row.status == RequestStatus::kRunning, "row ", index_of(id), " is not running");
  ++version_;
  ++row.epoch;
  row.status = RequestStatus::kPreempting;
  requests_.seek(id);
  if (row.num_in_flight == 0) retire_row(id);
  ledger_.check_accounting();
}

Decision BlockManager::resume(RowId id, std::int64_t now_ns) {
  Row const& row = requests_.row(id);
  RKV_REQUIRE(row.status == RequestStatus::kPreempted, "row ", index_of(id), " is not preempted, or a step with it is still in flight");
  ledger_.set_now(now_ns);
  Moment moment = moment_now();
  if (crosses_deadline(moment)) return {.outcome = Outcome::kDeadlineDue};
  Request& request = requests_.request(id);
  Look decided = look(demand_of(id, 0));
  // What was admitted is never refused: acceptance of a claim counted this request's peak.
  decided.decision.outcome = decided.decision.new_blocks > decided.decision.available_blocks ? Outcome::kDeferred : Outcome::kAdmitted;
  if (decided.decision.outcome != Outcome::kAdmitted) return decided.decision;
  moment.allocations += decided.decision.new_blocks;
  if (crosses_deadline(moment)) return {.outcome = Outcome::kDeadlineDue};
  ++version_;
  // Known full blocks are looked up, filled and counted in A(r) like a prompt from here on, so no rewind may forget them.
  request.num_fixed = std::max(request.num_fixed, row.num_known - row.num_known % options_.block_size);
  std::uint64_t const evictions_before = ledger_.pool().num_evictions();
  occupy(id, decided);
  decided.decision.row = id;
  record_admission(request, decided.decision, ledger_.pool().num_evictions() - evictions_before);
  num_query_tokens_ += row.num_known;
  num_hit_tokens_ += decided.decision.num_cached_tokens;
  ledger_.check_accounting();
  return decided.decision;
}

void BlockManager::finish(RowId id) {
  Row& row = requests_.row(id);
  ++version_;
  ++row.epoch;
  row.status = RequestStatus::kRetiring;
  requests_.seek(id);
  if (row.num_in_flight == 0) retire_row(id);
  ledger_.check_accounting();
}

// No step names the row any more: its blocks go back, tail first, so that chains are evicted from their tail.
void BlockManager::retire_row(RowId id) {
  Row& row = requests_.row(id);
  give_back(id);
  if (row.status == RequestStatus::kPreempting) {
    row.status = RequestStatus::kPreempted;
    return;
  }
  Request& request = requests_.request(id);
  for (ExtraId const extra : request.extras) ledger_.index().extra_keys().release(extra);
  request.extras.clear();
  requests_.remove(id);
}

void BlockManager::give_back(RowId id) {
  Row& row = requests_.row(id);
  Request& request = requests_.request(id);
  ledger_.pool().release_all(request.blocks);
  for (NodeId const node : request.fills) ledger_.reserve_again(node);
  request.blocks.clear();
  request.nodes.clear();
  request.fills.clear();
  row.num_written = 0;
  row.num_planned = 0;
  requests_.seek(id);
}

void BlockManager::stop_filling(std::span<BlockLedger::Filling const> stopped) {
  for (BlockLedger::Filling const& filling : stopped) {
    if (filling.row == kRestorer) {
      copies_.stop(filling.node);
    } else {
      std::erase(requests_.request(filling.row).fills, filling.node);
    }
  }
}

void BlockManager::rewind(RowId id, std::uint32_t num_tokens) {
  Row& row = requests_.row(id);
  Request& request = requests_.request(id);
  RKV_REQUIRE(row.status == RequestStatus::kRunning, "row ", index_of(id), " is not running");
  std::size_t const num_committed = request.nodes.size() * options_.block_size;
  RKV_REQUIRE(num_tokens >= num_committed && num_tokens <= row.num_planned, "rewind to ", num_tokens,
              " tokens: must be between num_committed=", num_committed, " and num_planned=", row.num_planned);
  ++version_;
  for (std::size_t i = 0; row.num_in_flight > 0 && i < in_flight_.size(); ++i) {  // what is in flight counts up to num_tokens only
    for (Step::Entry& entry : step(in_flight_[i]).entries) {
      if (entry.row != id || entry.epoch != row.epoch) continue;
      entry.kept = num_tokens > entry.first ? std::min(entry.kept, num_tokens - entry.first) : 0;
    }
  }
  row.num_written = std::min(row.num_written, num_tokens);
  row.num_planned = num_tokens;
  row.num_known = std::max(request.num_fixed, std::min(row.num_known, num_tokens));
  std::uint32_t const num_blocks = blocks_for(std::max(num_tokens, request.num_fixed), options_.block_size);
  while (request.blocks.size() > num_blocks) {
    release_later(id, request.blocks.back());
    request.blocks.pop_back();
  }
  buffers_.touch(id, static_cast<std::uint32_t>(request.blocks.size()));
  requests_.seek(id);
  ledger_.check_accounting();
}

// Releases a block of the row as soon as no step in flight may still name it.
void BlockManager::release_later(RowId id, BlockId block) {
  if (requests_.row(id).num_in_flight == 0) {
    ledger_.pool().release(block);
  } else {
    step(in_flight_.back()).given_back.push_back(block);
  }
}

}  // namespace residentkv
