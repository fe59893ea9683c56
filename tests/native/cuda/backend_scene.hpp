#pragma once
// A backend over a storage with known contents, with the path that a test wants, and jobs for it.
#include "copy/plan.hpp"
#include "cuda/cuda_backend.hpp"
#include "cuda/storage.hpp"
#include "device/checksum.hpp"

namespace residentkv::testing {

// A table in which `path` wins everywhere.
inline cuda::Calibration favouring(cuda::CopyPath favourite, int driver_version = 13000) {
  std::vector<cuda::CalibrationRow> rows;
  for (Direction direction : {Direction::kOffload, Direction::kRestore}) {
    for (cuda::CalibrationPoint const& point : cuda::calibration_points()) {
      for (cuda::CopyPath path : cuda::kCopyPaths) rows.push_back({direction, path, point, path == favourite ? 1e-6 : 1e-3});
    }
  }
  return {{"residentkv host emulation", driver_version, 13000}, std::move(rows)};
}

// Three planes in two layers, unequal and with gaps; suits the kernels.
inline std::vector<PlaneShape> small_planes() {
#ifdef CUDA_EMULATION_THREADS
  return {{48, 32}, {16, 16}, {32, 16}};
#else
  return {{4096 + 64, 4096 + 16}, {32, 16}, {256, 256 - 16}};
#endif
}

// The last plane is a layer of its own, the others are the first.
inline KVLayout layout_of(Storage const& storage) {
  std::vector<Plane> planes;
  for (std::size_t p = 0; p < storage.num_planes(); ++p) {
    planes.push_back({.base = storage.plane(p),
                      .stride_bytes = storage.shape(p).stride_bytes,
                      .run_bytes = storage.shape(p).run_bytes,
                      .layer = p > 0 && p + 1 == storage.num_planes() ? 1U : 0U});
  }
  return {std::move(planes), storage.num_blocks()};
}

inline cuda::HostSlots slots_of(Storage const& storage) { return {storage.slots(), storage.block_bytes(), storage.num_slots()}; }

inline cuda::CudaBackend::Options small_options() {
  return {.max_started = 2, .max_pairs = 4, .num_ctas = 2, .num_staging_blocks = 2, .calibration = std::nullopt};
}

inline cuda::CudaBackend::Options options_with(cuda::Calibration calibration) {
  cuda::CudaBackend::Options options = small_options();
  options.calibration = std::move(calibration);
  return options;
}

inline std::shared_ptr<CopyJob> plan(Storage const& storage, Direction direction, std::vector<BlockToSlot> const& pairs,
                                     std::vector<std::uint64_t> const& expected = {}) {
  std::vector<BlockPair> list;
  for (BlockToSlot const& pair : pairs) list.push_back({BlockId{pair.block}, SlotId{pair.slot}});
  auto job = plan_copy(direction, layout_of(storage), {storage.slots(), storage.block_bytes(), storage.num_slots()}, list, expected);
  job->state = CopyState::kRunning;
  return job;
}

inline void finish(cuda::CudaBackend& backend, CopyJob& job) {
  CHECK(backend.wait(job, UINT32_MAX, std::chrono::steady_clock::now() + std::chrono::seconds(60)));
  CHECK(job.is_over());
}

inline std::shared_ptr<CopyJob> run(cuda::CudaBackend& backend, std::shared_ptr<CopyJob> job) {
  backend.start(job);
  finish(backend, *job);
  return job;
}

// [pair][layer], from what the slots should hold, run by run.
inline std::vector<std::uint64_t> wanted_checksums(Storage const& storage, std::vector<BlockToSlot> const& pairs) {
  std::vector<std::uint64_t> all;
  KVLayout const layout = layout_of(storage);
  for (BlockToSlot const& pair : pairs) {
    std::vector<std::byte> const bytes = storage.wanted_slot(pair.slot);
    for (std::uint32_t layer = 0; layer < layout.num_layers(); ++layer) {
      Checksum checksum;
      for (std::size_t p = 0; p < layout.planes().size(); ++p) {
        if (layout.planes()[p].layer == layer) checksum.add(bytes.data() + layout.slot_offset(p), layout.planes()[p].run_bytes);
      }
      all.push_back(checksum.value());
    }
  }
  return all;
}

}  // namespace residentkv::testing
