#pragma once
// The one counter and the queue of a run's events.
// Invariants: (1) sequence numbers are strictly increasing, without gaps among recorded events.  (2) A recorded event stays until drained.
// Thread safety: none; the owner (BlockManager) serialises calls.
#include <cstdint>
#include <utility>
#include <vector>

#include "core/event.hpp"

namespace residentkv {

class EventLog {
 public:
  struct Options {
    bool block_events = true;  // record per-block events
    bool retain = true;        // keep records for drain(); without a reader only the numbers advance
  };
  explicit EventLog(Options options) : options_(options) {}

  // Numbers the event and queues it.  ENSURES: returns its sequence number; 0 for a per-block event that is switched off.  Amortised O(1).
  std::uint64_t record(EventRecord event) {
    if (is_block_event(event.kind) && !options_.block_events) return 0;
    event.sequence = ++last_sequence_;
    if (options_.retain) pending_.push_back(event);
    return event.sequence;
  }

  [[nodiscard]] std::vector<EventRecord> drain() { return std::exchange(pending_, {}); }
  [[nodiscard]] std::size_t num_pending() const noexcept { return pending_.size(); }
  [[nodiscard]] bool wants_block_events() const noexcept { return options_.block_events && options_.retain; }

 private:
  Options options_;
  std::uint64_t last_sequence_ = 0;
  std::vector<EventRecord> pending_;
};

}  // namespace residentkv
