#pragma once
// Who moves the bytes. The engine (copy/engine.hpp) decides what is copied and in which order of importance; a backend only carries out.
//
// A backend is chosen when a program starts, so it is a class with virtual functions and not a template argument; a call moves megabytes.
//
// Invariants: (1) every job that `start` took ends: its state becomes final, whatever happens. (2) After that the backend touches neither
// its blocks nor its slots. (3) A job stops early when its `stop_reason` is set, and fails when the device does. Thread safety: one caller
// at a time; a backend's own threads are its business.
#include <chrono>
#include <cstdint>
#include <memory>

#include "core/check.hpp"
#include "device/copy_job.hpp"

namespace residentkv {

class Backend {
 public:
  Backend() = default;
  Backend(Backend const&) = delete;
  Backend& operator=(Backend const&) = delete;
  virtual ~Backend() = default;  // REQUIRES: every job is over.

  // Begins a job. REQUIRES: its state is kRunning, and runs, pieces and checksums belong together.
  virtual void start(std::shared_ptr<CopyJob> job) = 0;
  // Lets jobs get on that need a push (a simulated device, events to be looked at). Never waits.
  virtual void poll() = 0;
  // Waits until `num_layers` leading layers of the job are done or it is over, or until the deadline. Returns whether either is so.
  virtual bool wait(CopyJob& job, std::uint32_t num_layers, std::chrono::steady_clock::time_point deadline) = 0;
  // Jobs that are started from now on begin after a device event, given by its handle: the step that wrote, or last read, their blocks.
  // THROWS: ContractError from a backend whose device has no events.
  virtual void begin_after(std::uintptr_t event) {
    RKV_REQUIRE(false, "event ", event, ": the device of this backend has no events; order the step yourself");
  }
  // Jobs it is good to have started at a time.
  [[nodiscard]] virtual std::uint32_t max_started() const noexcept = 0;
};

}  // namespace residentkv
