#pragma once
// Copies KV blocks between device storage and page-locked host slots, on streams of its own, with a checksum for every block.
//
// A submission becomes a ticket. Offload: copy, then the checksum of the bytes that landed. Restore: layer by layer, and meanwhile the
// checksum of the bytes that are read, compared with what was expected. Each direction has a stream for copies and one for checksums, so
// checksums of one ticket overlap copies of the next; the legacy default stream is never used.
//
// Invariants: (1) at most max_tickets tickets are open.  (2) Nothing that was enqueued touches memory of a ticket that has ended, nor any
// memory after the destructor: it waits.  (3) A failed submission leaves no ticket and nothing running.
// Failures: a CUDA error while submitting is thrown and leaves the ticket unmade; one found later makes the ticket fail. When even waiting
// fails twice the device is lost (is_lost()): open tickets fail and nothing can be submitted any more.
// Thread safety: one thread at a time. Checksums are computed on a thread of the driver.
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/calibration.hpp"
#include "cuda/copy_issuer.hpp"
#include "cuda/device_info.hpp"
#include "cuda/flight.hpp"
#include "cuda/geometry.hpp"
#include "cuda/handles.hpp"

namespace residentkv::cuda {

struct Submission {
  Direction direction;
  std::span<KernelPair const> pairs;        // (block, slot); each block and each slot once
  std::span<std::uint32_t const> expected;  // restore: the checksum of every pair's slot; offload: empty
  cudaEvent_t ready;                        // the copies begin after it: the step that wrote or last read the blocks. Null: begin now
};

enum class CopyStatus : std::uint8_t { kDone, kFailed, kCancelled };

struct Outcome {
  CopyStatus status;
  std::string error;                        // kFailed by CUDA: which call and code; empty when checksums are the reason
  std::vector<std::uint32_t> checksums;     // per pair; meaningless after a CUDA failure
  std::vector<std::uint32_t> failed_pairs;  // restore: indices of the pairs whose slot is not what was expected
};

struct Progress {
  bool is_finished;               // the outcome can be taken
  std::uint32_t num_stages_done;  // leading stages whose bytes are in place. Whether they are right is known at the end only
};

class CudaBackend {
 public:
  struct Options {
    Geometry::Options geometry;
    Checksum checksum;
    std::uint32_t max_tickets;           // > 0
    std::uint32_t max_pairs_per_ticket;  // > 0
    std::uint32_t num_ctas;              // > 0: of the copy kernels
    std::uint32_t num_staging_blocks;    // per direction; 0: no staged path
    std::optional<Calibration> calibration;
  };
  // REQUIRES: a device (find_device()); planes in device memory, slots in page-locked memory; see Geometry. A calibration of this device.
  // THROWS: ContractError, DeviceError (no device), OutOfDeviceMemory, PinnedHostError, CudaError; nothing is left behind.
  explicit CudaBackend(Options options);
  ~CudaBackend();  // waits for everything that was submitted
  CudaBackend(CudaBackend const&) = delete;
  CudaBackend& operator=(CudaBackend const&) = delete;

  // Enqueues the copies; nullopt when max_tickets are open.  REQUIRES: 1 .. max_pairs_per_ticket pairs, in range, no block and no slot
  // twice; as many expected checksums as pairs for a restore, none for an offload.  THROWS: ContractError, CudaError.
  // The blocks and slots belong to the ticket until it has finished.
  [[nodiscard]] std::optional<CopyTicket> submit(Submission const& submission);

  // REQUIRES, of all below: `ticket` is open, that is submitted and its outcome not yet taken.
  [[nodiscard]] Progress poll(CopyTicket ticket);
  void wait(CopyTicket ticket);  // until poll() says finished
  // Makes `consumer` (a stream of the caller) wait for a stage, without holding up the host.  THROWS: CudaError.
  void make_wait(CopyTicket ticket, std::uint32_t stage, cudaStream_t consumer);
  // The outcome will be kCancelled. What is enqueued can not be called back: blocks and slots stay the ticket's until it has finished.
  void cancel(CopyTicket ticket);
  [[nodiscard]] Outcome take(CopyTicket ticket);  // closes the ticket.  REQUIRES: finished

  // Stages of a ticket: one per layer for a restore, one for an offload.
  [[nodiscard]] std::uint32_t num_stages(Direction direction) const noexcept;
  [[nodiscard]] CopyPathSet usable_paths() const noexcept { return lanes_.front()->issuer.usable(); }
  [[nodiscard]] CopyPath path_for(Direction direction, PlaneRange planes, std::size_t num_pairs) const;
  [[nodiscard]] Geometry const& geometry() const noexcept { return geometry_; }
  [[nodiscard]] std::size_t num_open() const noexcept;
  [[nodiscard]] bool is_lost() const noexcept { return is_lost_; }

 private:
  struct Lane {  // of one direction
    Lane(Geometry const& geometry, CopyIssuer::Options options, int priority)
        : copies(priority), checks(priority), issuer(geometry, options, copies.get()) {}
    Stream copies;
    Stream checks;
    CopyIssuer issuer;
  };
  void check(Submission const& submission) const;
  void enqueue(Flight& flight, Submission const& submission);
  void enqueue_stage(Flight& flight, std::uint32_t stage, PlaneRange planes);
  void fail(Flight& flight, CudaError const& error) noexcept;
  void quiesce() noexcept;
  [[nodiscard]] Flight& flight_of(CopyTicket ticket);
  [[nodiscard]] Lane& lane(Direction direction) const noexcept { return *lanes_[static_cast<std::size_t>(direction)]; }

  Geometry geometry_;
  Options options_;
  std::array<std::unique_ptr<Lane>, 2> lanes_;  // by direction
  std::vector<std::unique_ptr<Flight>> flights_;
  std::uint64_t num_tickets_ = 0;
  bool is_lost_ = false;
};

}  // namespace residentkv::cuda
