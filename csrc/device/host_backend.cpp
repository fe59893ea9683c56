#include "device/host_backend.hpp"

#include <algorithm>
#include <utility>

#include "core/check.hpp"
#include "device/piece_copy.hpp"

namespace residentkv {

namespace {
constexpr std::size_t kPiecesAtOnce = 8;  // between two looks at the queue: half a megabyte of 64 KiB runs
}

HostBackend::HostBackend(std::uint32_t num_threads) {
  RKV_REQUIRE(num_threads >= 1 && num_threads <= 256, "num_threads=", num_threads, " must be 1 to 256");
  threads_.reserve(num_threads);
  for (std::uint32_t i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

HostBackend::~HostBackend() {
  {
    std::scoped_lock const lock(mutex_);
    is_closing_ = true;
  }
  has_task_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void HostBackend::start(std::shared_ptr<CopyJob> job) {
  auto task = std::make_shared<Task>(std::move(job));
  {
    std::scoped_lock const lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  has_task_.notify_all();
}

bool HostBackend::wait(CopyJob& job, std::uint32_t num_layers, std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  return has_news_.wait_until(lock, deadline,
                              [&] { return job.is_over() || job.num_layers_done.load(std::memory_order_acquire) >= num_layers; });
}

std::pair<std::size_t, std::size_t> HostBackend::take_pieces(Task& task) noexcept {
  CopyJob const& job = task.progress.job();
  std::size_t const begin = task.next_piece;
  if (job.stop_reason.load(std::memory_order_relaxed) != CopyError::kNone) return {begin, begin};
  std::size_t const end = std::min(begin + kPiecesAtOnce, job.pieces.size());
  task.next_piece = end;
  return {begin, end};
}

void HostBackend::work() {
  std::vector<std::pair<std::size_t, bool>> outcomes;  // (piece, whether it is good)
  std::unique_lock lock(mutex_);
  while (true) {
    has_task_.wait(lock, [this] { return is_closing_ || !tasks_.empty(); });
    if (tasks_.empty()) return;  // closing, and nothing is left
    std::shared_ptr<Task> const task = tasks_.front();
    auto const [begin, end] = take_pieces(*task);
    CopyJob& job = task->progress.job();
    if (begin == end) {  // it has no more to give; whoever is still inside ends it
      tasks_.pop_front();
      if (task->num_inside == 0) {
        task->progress.finish();
        has_news_.notify_all();
      }
      continue;
    }
    ++task->num_inside;
    lock.unlock();
    outcomes.clear();
    for (std::size_t i = begin; i < end; ++i) outcomes.emplace_back(i, copy_piece(job, job.pieces[i]));
    lock.lock();
    for (auto const& [i, is_good] : outcomes) {
      if (is_good) {
        task->progress.succeed(job.pieces[i]);
      } else {
        task->progress.fail(job.pieces[i], CopyError::kChecksum, "the content is not what was offloaded");
      }
    }
    bool const is_queued = !tasks_.empty() && tasks_.front() == task;
    if (--task->num_inside == 0 && !is_queued) task->progress.finish();
    has_news_.notify_all();
  }
}

}  // namespace residentkv
