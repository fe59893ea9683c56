#include "copy/engine.hpp"

#include <algorithm>
#include <utility>

#include "core/check.hpp"

namespace residentkv {

namespace {
// The backend's clock does not reach further than this from now.
constexpr std::chrono::nanoseconds kLongest = std::chrono::hours(24);
// Between two looks for jobs to start: a started one may end and leave its place while we wait for another.
constexpr std::chrono::nanoseconds kSlice = std::chrono::milliseconds(1);
}  // namespace

CopyEngine::CopyEngine(KVLayout layout, SlotArray slots, std::unique_ptr<Backend> backend, std::uint32_t max_tickets)
    : layout_(std::move(layout)), slots_(slots), backend_(std::move(backend)), max_tickets_(max_tickets) {
  RKV_REQUIRE(max_tickets_ > 0, "max_tickets must be positive");
  RKV_REQUIRE(slots_.num_slots > 0 && slots_.base != nullptr, "an engine needs slots");
  RKV_REQUIRE(slots_.stride_bytes >= layout_.block_bytes(), "a slot of ", slots_.stride_bytes, " bytes does not hold a block of ",
              layout_.block_bytes());
}

CopyEngine::~CopyEngine() { close(); }

std::optional<TicketId> CopyEngine::offload(std::span<BlockPair const> pairs) {
  return submit(plan_copy(Direction::kOffload, layout_, slots_, pairs, {}));
}

std::optional<TicketId> CopyEngine::restore(std::span<BlockPair const> pairs, std::span<std::uint64_t const> expected) {
  return submit(plan_copy(Direction::kRestore, layout_, slots_, pairs, expected));
}

std::optional<TicketId> CopyEngine::submit(std::shared_ptr<CopyJob> job) {
  RKV_REQUIRE(!is_closed_, "the copy engine is closed");
  if (tickets_.size() >= max_tickets_) return std::nullopt;
  TicketId const id{next_ticket_++};
  tickets_.push_back({.id = id, .job = std::move(job)});
  start_waiting();
  return id;
}

void CopyEngine::start_waiting() {
  auto const is_started = [](Ticket const& ticket) { return ticket.job->state.load(std::memory_order_acquire) == CopyState::kRunning; };
  auto num_started = static_cast<std::uint32_t>(std::ranges::count_if(tickets_, is_started));
  for (Direction const direction : {Direction::kRestore, Direction::kOffload}) {
    for (Ticket const& ticket : tickets_) {
      if (num_started >= backend_->max_started()) return;
      if (ticket.job->direction != direction || ticket.job->state.load(std::memory_order_relaxed) != CopyState::kWaiting) continue;
      ticket.job->state.store(CopyState::kRunning, std::memory_order_relaxed);
      backend_->start(ticket.job);
      ++num_started;
    }
  }
}

std::vector<CopyResult> CopyEngine::poll() {
  backend_->poll();
  start_waiting();
  std::vector<CopyResult> ended;
  std::erase_if(tickets_, [&ended](Ticket const& ticket) {
    CopyJob& job = *ticket.job;
    if (!job.is_over()) return false;
    CopyState const state = job.state.load(std::memory_order_acquire);
    bool const has_checksums = state == CopyState::kDone && job.direction == Direction::kOffload;
    ended.push_back({.ticket = ticket.id,
                     .direction = job.direction,
                     .state = state,
                     .error = job.error,
                     .error_detail = std::move(job.error_detail),
                     .failed_pairs = std::move(job.failed_pairs),
                     .checksums = has_checksums ? std::move(job.checksums) : std::vector<std::uint64_t>{}});
    return true;
  });
  return ended;
}

CopyJob& CopyEngine::find(TicketId ticket) const {
  auto const found = std::ranges::find(tickets_, ticket, &Ticket::id);
  RKV_REQUIRE(found != tickets_.end(), "ticket ", index_of(ticket), " is not in flight");
  return *found->job;
}

bool CopyEngine::wait(TicketId ticket, std::chrono::nanoseconds timeout) {
  CopyJob& job = find(ticket);
  static_cast<void>(wait_for(job, UINT32_MAX, timeout));
  return job.is_over();
}

bool CopyEngine::wait_layers(TicketId ticket, std::uint32_t num_layers, std::chrono::nanoseconds timeout) {
  CopyJob& job = find(ticket);
  RKV_REQUIRE(job.direction == Direction::kRestore && num_layers <= job.num_layers, "ticket ", index_of(ticket), " restores ",
              job.num_layers, " layers; asked for ", num_layers);
  static_cast<void>(wait_for(job, num_layers, timeout));
  return job.num_layers_done.load(std::memory_order_acquire) >= num_layers;
}

bool CopyEngine::wait_for(CopyJob& job, std::uint32_t num_layers, std::chrono::nanoseconds timeout) {
  auto const deadline = std::chrono::steady_clock::now() + std::min(timeout, kLongest);
  while (true) {
    backend_->poll();
    start_waiting();
    auto const now = std::chrono::steady_clock::now();
    if (backend_->wait(job, num_layers, std::min(deadline, now + kSlice))) return true;
    if (now >= deadline) return false;
  }
}

void CopyEngine::stop(TicketId ticket, CopyError reason) {
  RKV_REQUIRE(reason == CopyError::kCancelled || reason == CopyError::kTimeout, "a copy is stopped by cancelling it or by a timeout");
  CopyJob& job = find(ticket);
  CopyError unset = CopyError::kNone;
  job.stop_reason.compare_exchange_strong(unset, reason, std::memory_order_relaxed);
  if (job.state.load(std::memory_order_relaxed) != CopyState::kWaiting) return;  // the backend ends it
  job.error = reason;
  job.error_detail = "stopped before it began";
  job.state.store(reason == CopyError::kTimeout ? CopyState::kFailed : CopyState::kCancelled, std::memory_order_release);
}

void CopyEngine::close() {
  if (is_closed_) return;
  is_closed_ = true;
  for (Ticket const& ticket : tickets_) {
    if (!ticket.job->is_over()) stop(ticket.id, CopyError::kCancelled);
  }
  for (Ticket const& ticket : tickets_) static_cast<void>(wait_for(*ticket.job, UINT32_MAX, kLongest));
}

}  // namespace residentkv
