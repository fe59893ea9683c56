#include "device/fake_backend.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.hpp"
#include "device/piece_copy.hpp"

namespace residentkv {

namespace {

constexpr std::uint32_t kPollsOfOneWait = 100'000;

void copy_half(CopyJob const& job, Piece const& piece) {
  Run const& run = job.runs[piece.first_run];
  if (job.direction == Direction::kOffload) {
    std::memcpy(run.slot, run.device, run.num_bytes / 2);
  } else {
    std::memcpy(run.device, run.slot, run.num_bytes / 2);
  }
}

}  // namespace

FakeBackend::FakeBackend(Options options) : options_(options), state_(options.seed) {
  RKV_REQUIRE(options.max_pieces_per_poll > 0, "max_pieces_per_poll must be positive");
  std::uint64_t const faults =
      std::uint64_t{options.device_error_permille} + options.corruption_permille + options.short_read_permille + options.stall_permille;
  RKV_REQUIRE(faults <= 1000, "the faults add up to ", faults, " of 1000 jobs");
}

// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
std::uint64_t FakeBackend::random() noexcept {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

FakeBackend::Fault FakeBackend::draw_fault(Direction direction) noexcept {
  std::uint64_t drawn = random() % 1000;
  for (auto const& [permille, fault] :
       {std::pair{options_.device_error_permille, Fault::kDeviceError}, std::pair{options_.corruption_permille, Fault::kCorruption},
        std::pair{options_.short_read_permille, Fault::kShortRead}, std::pair{options_.stall_permille, Fault::kStall}}) {
    if (drawn < permille) {
      bool const fits = fault == Fault::kCorruption  ? direction == Direction::kOffload
                        : fault == Fault::kShortRead ? direction == Direction::kRestore
                                                     : true;
      return fits ? fault : Fault::kNone;
    }
    drawn -= permille;
  }
  return Fault::kNone;
}

void FakeBackend::start(std::shared_ptr<CopyJob> job) {
  Task task(std::move(job));
  CopyJob const& started = task.progress.job();
  for (std::uint32_t i = 0; i < started.pieces.size(); ++i) task.left.push_back(i);
  for (std::size_t i = task.left.size(); i > 1; --i) std::swap(task.left[i - 1], task.left[random() % i]);
  task.fault = draw_fault(started.direction);
  task.faulty_piece = static_cast<std::uint32_t>(random() % std::max<std::size_t>(1, started.pieces.size()));
  tasks_.push_back(std::move(task));
}

bool FakeBackend::is_over(Task const& task) noexcept { return task.progress.job().is_over(); }

void FakeBackend::poll() {
  for (std::uint32_t i = 0; i < options_.max_pieces_per_poll && !tasks_.empty(); ++i) {
    carry_out(tasks_[random() % tasks_.size()]);
    std::erase_if(tasks_, is_over);
  }
}

void FakeBackend::carry_out(Task& task) {
  CopyJob& job = task.progress.job();
  if (job.stop_reason.load(std::memory_order_relaxed) != CopyError::kNone) return task.progress.finish();
  if (task.fault == Fault::kStall) return;
  if (task.left.empty()) return task.progress.finish();
  Piece const& piece = job.pieces[task.left.back()];
  task.left.pop_back();
  bool const is_faulty = task.faulty_piece-- == 0;
  if (is_faulty && task.fault == Fault::kDeviceError) {
    copy_half(job, piece);
    task.progress.fail(piece, CopyError::kDevice, "the device reported an error");
    return task.progress.finish();
  }
  if (is_faulty && task.fault == Fault::kShortRead) {
    copy_half(job, piece);
    return task.progress.fail(piece, CopyError::kShortRead, "half of a piece came back");
  }
  if (copy_piece(job, piece)) {
    task.progress.succeed(piece);
  } else {
    task.progress.fail(piece, CopyError::kChecksum, "the content is not what was offloaded");
  }
  if (is_faulty && task.fault == Fault::kCorruption) {
    Run const& run = job.runs[piece.first_run];
    run.slot[random() % run.num_bytes] ^= std::byte{0x40};
  }
}

bool FakeBackend::wait(CopyJob& job, std::uint32_t num_layers, std::chrono::steady_clock::time_point deadline) {
  static_cast<void>(deadline);  // time does not pass here
  for (std::uint32_t i = 0; i < kPollsOfOneWait; ++i) {
    if (job.is_over() || job.num_layers_done.load(std::memory_order_acquire) >= num_layers) return true;
    poll();
  }
  return false;
}

}  // namespace residentkv
