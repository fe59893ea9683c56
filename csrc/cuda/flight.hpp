#pragma once
// What one job needs while its copies are under way. Made at start and used again and again: a job allocates nothing on the device.
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cuda/copy_issuer.hpp"
#include "cuda/handles.hpp"
#include "cuda/pinned_arena.hpp"
#include "device/job_progress.hpp"

namespace residentkv::cuda {

// Stages: one per layer for a restore, a single one for an offload.
//
// Thread safety: a stage's checksums are written by a thread of the driver until its `done` event has passed.
class Flight {
 public:
  // For up to `max_pairs` pairs and `num_layers` stages.  THROWS: OutOfDeviceMemory, PinnedHostError, CudaError.
  Flight(std::uint32_t num_layers, std::uint32_t max_pairs);

  // Takes the job and lists its pairs in page-locked memory.  REQUIRES: idle.  THROWS: ContractError when the job is not one of this
  // layout or has more than max_pairs pairs; the flight is idle then.
  void take(std::shared_ptr<CopyJob> job, Geometry const& geometry, std::uint32_t num_staging_blocks);
  // Enqueues the lists' way to the device.  THROWS: CudaError.
  void upload(cudaStream_t stream) const;
  [[nodiscard]] PairLists lists() const noexcept;

  [[nodiscard]] bool is_idle() const noexcept { return !progress_; }
  [[nodiscard]] CopyJob& job() const noexcept { return progress_->job(); }
  [[nodiscard]] std::uint32_t num_stages() const noexcept { return num_stages_; }
  [[nodiscard]] cudaEvent_t landed(std::uint32_t stage) const noexcept { return landed_[stage].get(); }  // its bytes are in place
  [[nodiscard]] cudaEvent_t done(std::uint32_t stage) const noexcept { return done_[stage].get(); }      // and its checksums are taken

  // Enqueues the checksums of a stage's slots.  THROWS: CudaError.
  void enqueue_checksums(std::uint32_t stage, cudaStream_t stream);

  // Stages that were settled, in order. settle() stores (offload) or compares (restore) the checksums of the next one.
  // REQUIRES: its `done` event has passed.
  [[nodiscard]] std::uint32_t num_settled() const noexcept { return num_settled_; }
  void settle();
  // Ends the job and becomes idle: as its stages went, or failed by the device. REQUIRES: nothing of it is enqueued any more.
  void finish();
  void fail(std::string detail);

 private:
  struct StageCheck {  // what a callback is given
    Flight* flight;
    std::uint32_t stage;
  };
  [[nodiscard]] std::span<Piece const> pieces_of(std::uint32_t stage) const noexcept;
  static void take_checksums(void* stage_check) noexcept;

  std::uint32_t max_pairs_;
  std::size_t num_pairs_ = 0;
  std::size_t num_listed_ = 0;  // entries of both lists
  std::uint32_t num_stages_ = 0;
  std::uint32_t num_settled_ = 0;
  std::optional<JobProgress> progress_;   // nullopt: idle
  std::vector<std::uint64_t> checksums_;  // of the job's pieces
  std::vector<StageCheck> checks_;
  std::vector<Event> landed_;
  std::vector<Event> done_;
  PinnedArena host_pairs_;     // [2][max_pairs] KernelPair
  DeviceBuffer device_pairs_;  // the same
};

}  // namespace residentkv::cuda
