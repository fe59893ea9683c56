#pragma once
// A device that is slow, reorders and breaks, by a seed: the same seed and calls give the same copies, failures and order of completion.
//
// It really moves the bytes, a few pieces at every `poll`, of any started job and in any order that a real device could choose. Nothing
// happens between polls, so a whole simulation replays.
//
// Thread safety: none.
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "device/backend.hpp"
#include "device/job_progress.hpp"

namespace residentkv {

class FakeBackend final : public Backend {
 public:
  // What may go wrong with a job, in thousandths of the jobs.
  struct Options {
    std::uint64_t seed = 0;
    std::uint32_t max_pieces_per_poll = 4;    // > 0
    std::uint32_t device_error_permille = 0;  // stops on the way: some blocks are copied, one is torn
    std::uint32_t corruption_permille = 0;    // a byte of a slot changes after an offload: nobody is told
    std::uint32_t short_read_permille = 0;    // of restores: one piece comes back half
    std::uint32_t stall_permille = 0;         // does nothing until it is stopped
  };

  explicit FakeBackend(Options options);

  void start(std::shared_ptr<CopyJob> job) override;
  void poll() override;
  // Polls a bounded number of times: a stalled job does not come back by waiting.
  bool wait(CopyJob& job, std::uint32_t num_layers, std::chrono::steady_clock::time_point deadline) override;
  [[nodiscard]] std::uint32_t max_started() const noexcept override { return 4; }

 private:
  enum class Fault : std::uint8_t { kNone, kDeviceError, kCorruption, kShortRead, kStall };
  struct Task {
    explicit Task(std::shared_ptr<CopyJob> job) : progress(std::move(job)) {}
    JobProgress progress;
    std::vector<std::uint32_t> left;  // pieces, in the order in which they will be carried out from the back
    Fault fault = Fault::kNone;
    std::uint32_t faulty_piece = 0;  // counts carried out pieces
  };

  [[nodiscard]] std::uint64_t random() noexcept;
  [[nodiscard]] Fault draw_fault(Direction direction) noexcept;
  void carry_out(Task& task);
  [[nodiscard]] static bool is_over(Task const& task) noexcept;

  Options options_;
  std::uint64_t state_;
  std::deque<Task> tasks_;
};

}  // namespace residentkv
