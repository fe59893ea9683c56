#pragma once
// Which path is the fastest for how many runs of what size: a table measured on one device, and the rule that reads it.
//
// Note [Calibration]. Rationale: the crossover between a copy engine (costly per run, full bandwidth) and a copy kernel (no cost per run,
// but SMs) lies somewhere between 16 KiB and 256 KiB by public measurements and depends on device, bus and driver, so it is measured at
// start instead of written down. Approach: time every usable path at every point of a small grid of run sizes and counts, both directions;
// a request takes the winner of the nearest point, in octaves. Limitations: nothing else ran on the device while it was measured, so a
// kernel's price for the model does not show; `make bench-gpu` measures that.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/copy_path.hpp"
#include "device/copy_job.hpp"

namespace residentkv::cuda {

struct CalibrationPoint {
  std::uint64_t run_bytes;  // of each run
  std::uint32_t num_runs;   // of one submission
  bool operator==(CalibrationPoint const&) const = default;
};

// The points that are measured: 4 KiB to 1 MiB by fours, 1 to 256 runs by sixteens; at most 64 MiB each.
inline constexpr std::array kRunBytes{std::uint64_t{4} << 10, std::uint64_t{16} << 10, std::uint64_t{64} << 10, std::uint64_t{256} << 10,
                                      std::uint64_t{1} << 20};
inline constexpr std::array<std::uint32_t, 3> kNumRuns{1, 16, 256};
inline constexpr std::uint64_t kMaxPointBytes = std::uint64_t{64} << 20;
[[nodiscard]] std::vector<CalibrationPoint> calibration_points();

struct CalibrationRow {
  Direction direction;
  CopyPath path;
  CalibrationPoint point;
  double seconds;  // from the first submission to the last byte, median
};

// What a table was measured with. A table of another device or driver is not used.
struct CalibrationDevice {
  std::string name;  // as the driver reports it, one line
  int driver_version;
  int runtime_version;
  bool operator==(CalibrationDevice const&) const = default;
};

// Thread safety: immutable after construction.
class Calibration {
 public:
  // REQUIRES: every direction and point has at least one row, no row twice, every point one of calibration_points(), and seconds finite
  // and positive.
  Calibration(CalibrationDevice device, std::vector<CalibrationRow> rows);

  // The fastest measured path of `usable` at the nearest point; nullopt when none of them was measured there.  O(paths).
  [[nodiscard]] std::optional<CopyPath> choose(Direction direction, std::uint64_t run_bytes, std::uint64_t num_runs,
                                               CopyPathSet usable) const;

  [[nodiscard]] CalibrationDevice const& device() const noexcept { return device_; }
  [[nodiscard]] std::span<CalibrationRow const> rows() const noexcept { return rows_; }

  // Lines of text, to print and to save. parse(text()) gives the same table.
  [[nodiscard]] std::string text() const;
  // THROWS: ContractError that names the line: not such a text, another version of it, or a table that breaks the REQUIRES above.
  [[nodiscard]] static Calibration parse(std::string_view text);

 private:
  CalibrationDevice device_;
  std::vector<CalibrationRow> rows_;
  std::vector<double> seconds_;  // [direction][point][path]; infinity where nothing was measured
};

// The path without a table: the kernel below 28 KiB per run, a copy engine from there on (public measurements on H100 of
// cuMemcpyBatchAsync, not ours: 4 to 7 GB/s below that size, 40 to 52 above), the loop when nothing better is usable.
[[nodiscard]] CopyPath choose_unmeasured(std::uint64_t run_bytes, CopyPathSet usable);

}  // namespace residentkv::cuda
