#pragma once
// What the bindings of copies share.
#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include "device/backend.hpp"
#include "device/kv_layout.hpp"

namespace residentkv::bindings {

// A backend until an engine takes it.
struct BackendHolder {
  std::unique_ptr<Backend> backend;
};

// (base, stride_bytes, run_bytes, layer) per plane.
using PlaneTuples = std::vector<std::tuple<std::uintptr_t, std::size_t, std::size_t, std::uint32_t>>;

inline KVLayout layout_of(PlaneTuples const& planes, std::uint32_t num_blocks) {
  std::vector<Plane> result;
  result.reserve(planes.size());
  for (auto const& [base, stride_bytes, run_bytes, layer] : planes) {
    result.push_back({.base = reinterpret_cast<std::byte*>(base), .stride_bytes = stride_bytes, .run_bytes = run_bytes, .layer = layer});
  }
  return {std::move(result), num_blocks};
}

}  // namespace residentkv::bindings
