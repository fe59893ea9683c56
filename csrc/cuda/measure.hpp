#pragma once
// Times the copy paths of the current device, in scratch memory of its own.
#include <cstdint>
#include <span>
#include <vector>

#include "cuda/calibration.hpp"

namespace residentkv::cuda {

struct MeasureOptions {
  std::uint32_t num_ctas;     // of the copy kernels
  std::uint32_t num_repeats;  // > 0; the median counts. One more run before them warms up
};

// Every usable path at every point, both directions. A point's runs are the planes of blocks that are not neighbours in device memory: what
// a path can merge is then the same as with KV storage.  REQUIRES: a device; points of at least one run and 16 bytes, in multiples of 16.
// THROWS: DeviceError family; nothing is left behind.
[[nodiscard]] std::vector<CalibrationRow> measure(std::span<CalibrationPoint const> points, MeasureOptions options);

// The whole table. Moves about 4 GB: a fraction of a second on a bus of 20 GB/s. Device and page-locked memory for it: 3 times 64 MiB.
[[nodiscard]] Calibration calibrate(MeasureOptions options);

}  // namespace residentkv::cuda
