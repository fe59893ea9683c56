#pragma once
// A small device and tier in memory, each surrounded by guard bytes, and what they should hold.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "copy/plan.hpp"
#include "device/kv_layout.hpp"

namespace residentkv::testing {

constexpr std::byte kGuard{0xA5};

// `num_layers` layers of two planes each: run bytes `run_bytes`, blocks `gap_bytes` apart, the whole `misalignment` bytes off.
struct CopyFixture {
  struct Shape {
    std::uint32_t num_layers = 3;
    std::uint32_t num_blocks = 8;
    std::uint32_t num_slots = 6;
    std::size_t run_bytes = 48;
    std::size_t gap_bytes = 8;
    std::size_t misalignment = 0;
  };

  explicit CopyFixture(Shape wanted) : shape(wanted) {
    plane_bytes = shape.num_blocks * (shape.run_bytes + shape.gap_bytes) + kMargin;
    device.assign(plane_bytes * num_planes() + kMargin, kGuard);
    slots_memory.assign(num_planes() * shape.run_bytes * shape.num_slots + 2 * kMargin, kGuard);
  }

  [[nodiscard]] std::size_t num_planes() const { return std::size_t{2} * shape.num_layers; }
  [[nodiscard]] std::byte* run(std::size_t plane, std::uint32_t block) {
    return device.data() + kMargin / 2 + shape.misalignment + plane * plane_bytes + block * (shape.run_bytes + shape.gap_bytes);
  }
  [[nodiscard]] KVLayout layout() {
    std::vector<Plane> planes;
    for (std::size_t p = 0; p < num_planes(); ++p) {
      planes.push_back({.base = run(p, 0),
                        .stride_bytes = shape.run_bytes + shape.gap_bytes,
                        .run_bytes = shape.run_bytes,
                        .layer = static_cast<std::uint32_t>(p / 2)});
    }
    return {std::move(planes), shape.num_blocks};
  }
  [[nodiscard]] SlotArray slots() {
    return {.base = slots_memory.data() + kMargin / 2 + shape.misalignment,
            .stride_bytes = num_planes() * shape.run_bytes,
            .num_slots = shape.num_slots};
  }
  [[nodiscard]] std::byte* slot(std::uint32_t number) { return slots().base + number * slots().stride_bytes; }

  // Bytes that no other block has.
  void write_block(std::uint32_t block, std::uint32_t seed) {
    for (std::size_t p = 0; p < num_planes(); ++p) {
      for (std::size_t i = 0; i < shape.run_bytes; ++i) run(p, block)[i] = value(seed, p * shape.run_bytes + i);
    }
  }
  [[nodiscard]] bool block_is(std::uint32_t block, std::uint32_t seed) {
    for (std::size_t p = 0; p < num_planes(); ++p) {
      for (std::size_t i = 0; i < shape.run_bytes; ++i) {
        if (run(p, block)[i] != value(seed, p * shape.run_bytes + i)) return false;
      }
    }
    return true;
  }
  [[nodiscard]] bool slot_is(std::uint32_t number, std::uint32_t seed) {
    for (std::size_t i = 0; i < slots().stride_bytes; ++i) {
      if (slot(number)[i] != value(seed, i)) return false;
    }
    return true;
  }
  static std::byte value(std::uint32_t seed, std::size_t i) {
    auto const mixed = static_cast<std::uint32_t>(i + 1) * 2654435761U + seed * 40503U;
    return static_cast<std::byte>(mixed >> 13);
  }

  static constexpr std::size_t kMargin = 256;
  Shape shape;
  std::size_t plane_bytes;
  std::vector<std::byte> device;
  std::vector<std::byte> slots_memory;
};

inline std::vector<BlockPair> pairs(std::vector<std::pair<std::uint32_t, std::uint32_t>> const& numbers) {
  std::vector<BlockPair> result;
  for (auto const& [block, slot] : numbers) result.push_back({.block = BlockId{block}, .slot = SlotId{slot}});
  return result;
}

}  // namespace residentkv::testing
