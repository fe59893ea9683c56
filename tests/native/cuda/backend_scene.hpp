#pragma once
// A backend over a storage with known contents, with the path that a test wants.
#include "cuda/cuda_backend.hpp"
#include "cuda/storage.hpp"

namespace residentkv::testing {

// FNV-1a over (position, byte): any checksum that sees order will do here.
inline std::uint32_t checksum_of(std::byte const* data, std::size_t num_bytes) noexcept {
  std::uint32_t hash = 2166136261U;
  for (std::size_t i = 0; i < num_bytes; ++i) hash = (hash ^ static_cast<std::uint32_t>(data[i])) * 16777619U;
  return hash;
}

// A table in which `path` wins everywhere.
inline cuda::Calibration favouring(cuda::CopyPath favourite, int driver_version = 13000) {
  std::vector<cuda::CalibrationRow> rows;
  for (cuda::Direction direction : {cuda::Direction::kOffload, cuda::Direction::kRestore}) {
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

inline cuda::CudaBackend::Options backend_options(Storage const& storage) {
  cuda::CudaBackend::Options options{};
  for (std::size_t p = 0; p < storage.num_planes(); ++p) {
    options.geometry.planes.push_back({storage.plane(p), storage.shape(p).stride_bytes, storage.shape(p).run_bytes});
  }
  auto const num_planes = static_cast<std::uint32_t>(storage.num_planes());
  options.geometry.layer_ends = num_planes > 1 ? std::vector{num_planes - 1, num_planes} : std::vector{num_planes};
  options.geometry.num_blocks = storage.num_blocks();
  options.geometry.slots = storage.slots();
  options.geometry.num_slots = storage.num_slots();
  options.checksum = &checksum_of;
  options.max_tickets = 2;
  options.max_pairs_per_ticket = 4;
  options.num_ctas = 2;
  options.num_staging_blocks = 2;
  return options;
}

inline std::vector<cuda::KernelPair> kernel_pairs(std::vector<BlockToSlot> const& pairs) {
  std::vector<cuda::KernelPair> all;
  for (BlockToSlot const& pair : pairs) all.push_back({pair.block, pair.slot});
  return all;
}

inline cuda::Outcome finish(cuda::CudaBackend& backend, cuda::CopyTicket ticket) {
  backend.wait(ticket);
  return backend.take(ticket);
}

inline cuda::Outcome offload(cuda::CudaBackend& backend, std::vector<BlockToSlot> const& pairs) {
  std::vector<cuda::KernelPair> const list = kernel_pairs(pairs);
  return finish(backend, *backend.submit({cuda::Direction::kOffload, list, {}, nullptr}));
}

inline std::vector<std::uint32_t> wanted_checksums(Storage const& storage, std::vector<BlockToSlot> const& pairs) {
  std::vector<std::uint32_t> all;
  for (BlockToSlot const& pair : pairs) {
    std::vector<std::byte> const bytes = storage.wanted_slot(pair.slot);
    all.push_back(checksum_of(bytes.data(), bytes.size()));
  }
  return all;
}

}  // namespace residentkv::testing
