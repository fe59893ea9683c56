#pragma once
// Copies between two places in host memory, by threads of its own. Device storage is host memory where there is no accelerator.
//
// Jobs are carried out one after the other, each by all threads: two copies at a time would only share the same memory channels.
//
// Thread safety: `start`, `poll` and `wait` may be called from any thread.
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "device/backend.hpp"
#include "device/job_progress.hpp"

namespace residentkv {

class HostBackend final : public Backend {
 public:
  explicit HostBackend(std::uint32_t num_threads);  // REQUIRES: 1 .. 256.
  HostBackend(HostBackend const&) = delete;
  HostBackend& operator=(HostBackend const&) = delete;
  ~HostBackend() override;  // waits for every job it has

  void start(std::shared_ptr<CopyJob> job) override;
  void poll() override {}
  bool wait(CopyJob& job, std::uint32_t num_layers, std::chrono::steady_clock::time_point deadline) override;
  [[nodiscard]] std::uint32_t max_started() const noexcept override { return 2; }  // the next one is at hand when one ends

 private:
  struct Task {
    explicit Task(std::shared_ptr<CopyJob> job) : progress(std::move(job)) {}
    JobProgress progress;
    std::size_t next_piece = 0;
    std::uint32_t num_inside = 0;  // threads that carry out a piece of it
  };

  void work();
  // Pieces to carry out next, [begin, end); empty when the task has none left to give.
  [[nodiscard]] static std::pair<std::size_t, std::size_t> take_pieces(Task& task) noexcept;

  std::mutex mutex_;
  std::condition_variable has_task_;
  std::condition_variable has_news_;  // a layer or a job is done
  std::deque<std::shared_ptr<Task>> tasks_;
  bool is_closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace residentkv
