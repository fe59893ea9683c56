#pragma once
// Copies in flight: a bounded number of tickets, each of which ends exactly once and says how.
//
// Restores are started before offloads that wait (somebody waits for a restore; an offload only makes room), among equals in the order of
// submission. A full engine answers "not now"; nothing is ever dropped.
//
// Invariants: INV-3, from here on: until a ticket is returned by `poll` or `wait_all`, its blocks and slots are in use. (1) in flight =
// waiting + started + over but not returned yet <= max_tickets.
// Thread safety: none, except that `wait` and `wait_layers` may run beside nothing else of the same engine: the owner serialises calls.
// Complexity: poll is O(tickets in flight); the others O(1) or O(planned runs).
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "copy/plan.hpp"
#include "device/backend.hpp"

namespace residentkv {

struct CopyResult {
  TicketId ticket;
  Direction direction;
  CopyState state;  // kDone, kFailed or kCancelled
  CopyError error;
  std::string error_detail;
  std::vector<std::uint32_t> failed_pairs;  // indices into the pairs submitted; empty when it is not known which
  std::vector<std::uint64_t> checksums;     // [pair][layer], of an offload that is done
};

class CopyEngine {
 public:
  // REQUIRES: max_tickets > 0, slots as plan_copy wants them for this layout.
  CopyEngine(KVLayout layout, SlotArray slots, std::unique_ptr<Backend> backend, std::uint32_t max_tickets);
  CopyEngine(CopyEngine const&) = delete;
  CopyEngine& operator=(CopyEngine const&) = delete;
  ~CopyEngine();  // closes

  // Submits a copy, or returns nullopt when max_tickets are in flight.  THROWS: ContractError, as plan_copy, or after close.
  [[nodiscard]] std::optional<TicketId> offload(std::span<BlockPair const> pairs);
  [[nodiscard]] std::optional<TicketId> restore(std::span<BlockPair const> pairs, std::span<std::uint64_t const> expected);

  // Every ticket that ended since the last call, in the order in which they were submitted. Never waits.
  [[nodiscard]] std::vector<CopyResult> poll();
  // Waits until a ticket has ended (`poll` returns it then) or the time is over. Returns whether it has.
  [[nodiscard]] bool wait(TicketId ticket, std::chrono::nanoseconds timeout);
  // Waits until the first `num_layers` layers of a restore are there and verified. Returns false if they are not: time over, or it failed.
  [[nodiscard]] bool wait_layers(TicketId ticket, std::uint32_t num_layers, std::chrono::nanoseconds timeout);
  // Ends a ticket early, by kCancelled or kTimeout. What is already over stays as it ended. REQUIRES: the ticket is in flight.
  void stop(TicketId ticket, CopyError reason);

  // As Backend::begin_after, for copies that have not been started yet.
  void begin_after(std::uintptr_t event) { backend_->begin_after(event); }

  // Cancels everything and waits for it. Idempotent; afterwards nothing can be submitted, and `poll` still returns what ended.
  void close();

  [[nodiscard]] std::uint32_t num_in_flight() const noexcept { return static_cast<std::uint32_t>(tickets_.size()); }
  [[nodiscard]] std::uint32_t max_tickets() const noexcept { return max_tickets_; }
  [[nodiscard]] KVLayout const& layout() const noexcept { return layout_; }

 private:
  struct Ticket {
    TicketId id;
    std::shared_ptr<CopyJob> job;
  };
  [[nodiscard]] std::optional<TicketId> submit(std::shared_ptr<CopyJob> job);
  [[nodiscard]] CopyJob& find(TicketId ticket) const;
  void start_waiting();
  bool wait_for(CopyJob& job, std::uint32_t num_layers, std::chrono::nanoseconds timeout);

  KVLayout layout_;
  SlotArray slots_;
  std::unique_ptr<Backend> backend_;
  std::uint32_t max_tickets_;
  bool is_closed_ = false;
  std::uint64_t next_ticket_ = 0;
  std::deque<Ticket> tickets_;  // by submission
};

}  // namespace residentkv
