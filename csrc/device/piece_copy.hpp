#pragma once
// Carrying out one piece with the processor: what the host backend and the fake device have in common.
#include "device/checksum.hpp"
#include "device/copy_job.hpp"

namespace residentkv {

// Copies the piece and takes its checksum from the bytes as they are read. An offload stores it; a restore compares it.
// Returns whether the content is what it was when it left the device.  O(bytes).
[[nodiscard]] inline bool copy_piece(CopyJob& job, Piece const& piece) noexcept {
  Checksum checksum;
  for (std::uint32_t i = piece.first_run; i < piece.first_run + piece.num_runs; ++i) {
    Run const& run = job.runs[i];
    if (job.direction == Direction::kOffload) {
      checksum.add_copied(run.slot, run.device, run.num_bytes);
    } else {
      checksum.add_copied(run.device, run.slot, run.num_bytes);
    }
  }
  if (job.direction == Direction::kRestore) return checksum.value() == job.checksum(piece);
  job.checksum(piece) = checksum.value();
  return true;
}

}  // namespace residentkv
