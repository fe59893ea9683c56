#pragma once
// One copy of blocks between a device and slots of a tier, from submission to its end. The engine makes it, one backend carries it out.
//
// A *piece* is one layer of one pair: what a checksum belongs to. Pieces are carried out in the order of `pieces`; a restore goes layer by
// layer, so that a model can compute the first layers while the others are still under way, an offload block by block.
//
// Invariants: (1) `state` leaves kRunning once, and with it everything else stands. (2) When leading layers are counted in
// `num_layers_done`, their bytes have arrived and their checksums were compared. Thread safety: the backend's threads and one caller share
// the atomics; the rest is the backend's until `state` is final (acquire it first).
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/ids.hpp"

namespace residentkv {

enum class Direction : std::uint8_t { kOffload, kRestore };  // device to slots; slots to device

struct BlockPair {
  BlockId block;
  SlotId slot;
};

// A contiguous run of bytes at both ends.
struct Run {
  std::byte* device;
  std::byte* slot;
  std::size_t num_bytes;
};

struct Piece {
  std::uint32_t pair;
  std::uint32_t layer;
  std::uint32_t first_run;  // its runs are [first_run, first_run + num_runs)
  std::uint32_t num_runs;
};

enum class CopyState : std::uint8_t { kWaiting, kRunning, kDone, kFailed, kCancelled };

// Why a copy failed. The order is that of contract.md section 3: the transient ones first, a content that is bad last.
enum class CopyError : std::uint8_t { kNone, kDevice, kTimeout, kCancelled, kShortRead, kChecksum };

struct CopyJob {
  Direction direction = Direction::kOffload;
  std::uint32_t num_pairs = 0;
  std::uint32_t num_layers = 0;
  std::vector<Run> runs;
  std::vector<Piece> pieces;
  std::vector<std::uint64_t> checksums;  // [pair][layer]: taken by an offload, expected by a restore

  std::atomic<CopyState> state{CopyState::kWaiting};
  std::atomic<std::uint32_t> num_layers_done{0};
  std::atomic<CopyError> stop_reason{CopyError::kNone};  // not kNone: stop as soon as no byte is being moved

  CopyError error = CopyError::kNone;
  std::string error_detail;
  std::vector<std::uint32_t> failed_pairs;  // ascending

  [[nodiscard]] bool is_over() const noexcept {
    CopyState const now = state.load(std::memory_order_acquire);
    return now != CopyState::kWaiting && now != CopyState::kRunning;
  }
  [[nodiscard]] std::uint64_t& checksum(Piece const& piece) noexcept {
    return checksums[std::size_t{piece.pair} * num_layers + piece.layer];
  }
};

}  // namespace residentkv
