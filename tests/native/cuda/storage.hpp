#pragma once
// Device storage of KV blocks with known contents, a table of host slots, and what both must hold after copies: every byte, also those
// that belong to no run (the space between strides, slots nobody named).
#include <algorithm>
#include <memory>
#include <vector>

#include "cuda/device_fixture.hpp"

namespace residentkv::testing {

struct PlaneShape {
  std::size_t stride_bytes;
  std::size_t run_bytes;
};

struct BlockToSlot {
  std::uint32_t block;
  std::uint32_t slot;
};

class Storage {
 public:
  Storage(std::vector<PlaneShape> shapes, std::uint32_t num_blocks, std::uint32_t num_slots)
      : shapes_(std::move(shapes)), num_blocks_(num_blocks), num_slots_(num_slots) {
    for (PlaneShape const& shape : shapes_) {
      std::vector<std::byte> contents(shape.stride_bytes * num_blocks);
      for (std::size_t i = 0; i < contents.size(); ++i) contents[i] = pattern(planes_.size() + 1, i);
      planes_.push_back(std::make_unique<DeviceBytes>(contents));
      wanted_planes_.push_back(std::move(contents));
      block_bytes_ += shape.run_bytes;
    }
    slots_ = std::make_unique<HostBytes>(block_bytes_ * num_slots);
    for (std::size_t i = 0; i < slots_->size(); ++i) slots_->data()[i] = pattern(1000, i);
    wanted_slots_ = slots_->read();
  }

  std::size_t block_bytes() const { return block_bytes_; }
  std::size_t num_planes() const { return shapes_.size(); }
  std::uint32_t num_blocks() const { return num_blocks_; }
  std::uint32_t num_slots() const { return num_slots_; }
  PlaneShape const& shape(std::size_t plane) const { return shapes_[plane]; }
  std::byte* plane(std::size_t plane) const { return planes_[plane]->data(); }
  std::byte* slots() const { return slots_->data(); }

  // Says in plain loops what copying these pairs through planes [first, end) must do.
  void expect_offload(std::vector<BlockToSlot> const& pairs) {
    for (BlockToSlot const& pair : pairs) {
      for_each_run(pair, 0, num_planes(),
                   [&](std::byte* in_plane, std::byte* in_slot, std::size_t count) { std::copy(in_plane, in_plane + count, in_slot); });
    }
  }
  void expect_restore(std::vector<BlockToSlot> const& pairs, std::size_t first_plane, std::size_t end_plane) {
    for (BlockToSlot const& pair : pairs) {
      for_each_run(pair, first_plane, end_plane,
                   [&](std::byte* in_plane, std::byte* in_slot, std::size_t count) { std::copy(in_slot, in_slot + count, in_plane); });
    }
  }
  void expect_restore(std::vector<BlockToSlot> const& pairs) { expect_restore(pairs, 0, num_planes()); }

  // Compares every byte and every guard zone.
  bool is_as_expected() const {
    cuda_emulation::check_guards();
    for (std::size_t p = 0; p < num_planes(); ++p) {
      if (planes_[p]->read() != wanted_planes_[p]) return false;
    }
    return slots_->read() == wanted_slots_;
  }
  std::vector<std::byte> wanted_slot(std::uint32_t slot) const {
    auto const begin = wanted_slots_.begin() + static_cast<std::ptrdiff_t>(slot * block_bytes_);
    return {begin, begin + static_cast<std::ptrdiff_t>(block_bytes_)};
  }
  void spoil_slot(std::uint32_t slot, std::size_t at) {
    for (std::byte* bytes : {slots_->data(), wanted_slots_.data()}) bytes[slot * block_bytes_ + at] ^= std::byte{1};
  }

 private:
  template <typename Run>
  void for_each_run(BlockToSlot pair, std::size_t first_plane, std::size_t end_plane, Run run) {
    std::size_t offset = 0;
    for (std::size_t p = 0; p < end_plane; ++p) {
      std::byte* const in_plane = wanted_planes_[p].data() + pair.block * shapes_[p].stride_bytes;
      std::byte* const in_slot = wanted_slots_.data() + pair.slot * block_bytes_ + offset;
      if (p >= first_plane) run(in_plane, in_slot, shapes_[p].run_bytes);
      offset += shapes_[p].run_bytes;
    }
  }

  std::vector<PlaneShape> shapes_;
  std::uint32_t num_blocks_;
  std::uint32_t num_slots_;
  std::size_t block_bytes_ = 0;
  std::vector<std::unique_ptr<DeviceBytes>> planes_;
  std::vector<std::vector<std::byte>> wanted_planes_;
  std::unique_ptr<HostBytes> slots_;
  std::vector<std::byte> wanted_slots_;
};

}  // namespace residentkv::testing
