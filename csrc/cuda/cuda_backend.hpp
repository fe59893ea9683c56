#pragma once
// Copies KV blocks between device storage and page-locked host slots, on streams of its own, with a checksum for every piece.
//
// Offload: copy, then the checksums of the bytes that landed. Restore: layer by layer, and beside it the checksums of the bytes that are
// read, compared with what was expected. Each direction has a stream for copies and one for checksums, so that checksums of one job overlap
// copies of the next; the legacy default stream is never used.
//
// Invariants: those of Backend, and (1) nothing that was enqueued touches memory of a job that is over, nor any memory after the
// destructor: it waits.
// Failures: a CUDA error ends the job it met as kFailed by the device. When even waiting fails twice the device is lost (is_lost()): every
// job fails. What is enqueued can not be called back, so a stop comes too late: the job ends as it ends.
// Thread safety: one caller at a time. Checksums are computed on a thread of the driver.
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "cuda/calibration.hpp"
#include "cuda/copy_issuer.hpp"
#include "cuda/device_info.hpp"
#include "cuda/flight.hpp"
#include "cuda/geometry.hpp"
#include "cuda/handles.hpp"
#include "cuda/pinned_arena.hpp"
#include "device/backend.hpp"

namespace residentkv::cuda {

class CudaBackend final : public Backend {
 public:
  struct Options {
    std::uint32_t max_started = 4;           // > 0
    std::uint32_t max_pairs = 1024;          // > 0: of one job
    std::uint32_t num_ctas = 12;             // > 0: of the copy kernels
    std::uint32_t num_staging_blocks = 0;    // per direction; 0: no staged path
    std::optional<Calibration> calibration;  // nullopt: choose_unmeasured()
  };
  // Slots that are not page-locked yet are locked for as long as the backend lives.
  // REQUIRES: planes in device memory; slots that hold a block; a calibration of this device.
  // THROWS: ContractError, DeviceError (no device), OutOfDeviceMemory, PinnedHostError, CudaError; nothing is left behind.
  CudaBackend(KVLayout const& layout, HostSlots slots, Options options);
  ~CudaBackend() override;  // waits for everything that was enqueued

  // `event` is a cudaEvent_t. It may be destroyed or recorded again at once.  THROWS: CudaError.
  void begin_after(std::uintptr_t event) override;
  // Makes `consumer`, a stream of the caller, wait until a layer of a restore has landed, without holding up the host. Whether it is what
  // was offloaded is known when the job counts the layer.  REQUIRES: the job was started here.  THROWS: CudaError.
  void make_wait(CopyJob const& job, std::uint32_t layer, cudaStream_t consumer);

  // A job that is not one of this layout, or has more than max_pairs pairs, fails. THROWS: ContractError when max_started() are under way.
  void start(std::shared_ptr<CopyJob> job) override;
  void poll() override;
  bool wait(CopyJob& job, std::uint32_t num_layers, std::chrono::steady_clock::time_point deadline) override;
  [[nodiscard]] std::uint32_t max_started() const noexcept override { return options_.max_started; }

  [[nodiscard]] CopyPathSet usable_paths() const noexcept { return lanes_.front()->issuer.usable(); }
  [[nodiscard]] CopyPath path_for(Direction direction, PlaneRange planes, std::size_t num_pairs) const;
  [[nodiscard]] bool is_lost() const noexcept { return is_lost_; }

 private:
  struct Lane {  // of one direction
    Lane(Geometry const& geometry, CopyIssuer::Options options, int priority)
        : copies(priority), checks(priority), issuer(geometry, options, copies.get()) {}
    Stream copies;
    Stream checks;
    CopyIssuer issuer;
  };
  void enqueue(Flight& flight);
  void advance(Flight& flight);
  void fail(Flight& flight, char const* detail);
  void quiesce() noexcept;
  [[nodiscard]] Lane& lane(Direction direction) const noexcept { return *lanes_[static_cast<std::size_t>(direction)]; }

  Options options_;
  Geometry geometry_;
  std::optional<PinnedRange> pinned_;           // when the slots were not page-locked
  std::array<std::unique_ptr<Lane>, 2> lanes_;  // by direction
  std::vector<std::unique_ptr<Flight>> flights_;
  bool is_lost_ = false;
};

}  // namespace residentkv::cuda
