#pragma once
// Which pieces of a job are done, and what that makes of the job.
//
// Invariants: (1) a layer counts as done when all its pieces are, and all layers before it. (2) A piece that failed never is.
// Thread safety: none; the backend holds its lock.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device/copy_job.hpp"

namespace residentkv {

class JobProgress {
 public:
  explicit JobProgress(std::shared_ptr<CopyJob> job) : job_(std::move(job)), left_(job_->num_layers, 0), num_left_(job_->pieces.size()) {
    for (Piece const& piece : job_->pieces) ++left_[piece.layer];
  }

  [[nodiscard]] CopyJob& job() const noexcept { return *job_; }
  [[nodiscard]] bool all_done() const noexcept { return num_left_ == 0; }

  void succeed(Piece const& piece) {
    --num_left_;
    --left_[piece.layer];
    std::uint32_t done = job_->num_layers_done.load(std::memory_order_relaxed);
    while (done < job_->num_layers && left_[done] == 0) ++done;
    job_->num_layers_done.store(done, std::memory_order_release);
  }

  // The piece did not arrive whole. The others go on, so that every bad pair is known in the end.
  void fail(Piece const& piece, CopyError error, std::string detail) {
    --num_left_;
    job_->failed_pairs.push_back(piece.pair);
    if (error >= job_->error) {
      job_->error = error;
      job_->error_detail = std::move(detail);
    }
  }

  // Nothing moves any more: decides how the job ended.
  void finish() {
    auto& failed = job_->failed_pairs;
    std::ranges::sort(failed);
    failed.erase(std::ranges::unique(failed).begin(), failed.end());
    CopyState state = CopyState::kDone;
    if (!failed.empty() || job_->error != CopyError::kNone) {
      state = CopyState::kFailed;
    } else if (num_left_ > 0) {  // stopped on the way; a stop that came too late stopped nothing
      job_->error = job_->stop_reason.load(std::memory_order_relaxed);
      job_->error_detail = job_->error == CopyError::kTimeout ? "the time for it was over" : "cancelled";
      state = job_->error == CopyError::kTimeout ? CopyState::kFailed : CopyState::kCancelled;
    }
    job_->state.store(state, std::memory_order_release);
  }

 private:
  std::shared_ptr<CopyJob> job_;
  std::vector<std::uint32_t> left_;  // pieces, by layer
  std::size_t num_left_;
};

}  // namespace residentkv
