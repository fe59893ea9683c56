#include "cuda/calibration.hpp"

#include <algorithm>
#include <limits>

#include "core/check.hpp"
#include "cuda/backend_scene.hpp"
#include "cuda/measure.hpp"

namespace residentkv::cuda {
namespace {

using testing::favouring;

CopyPathSet all_paths() {
  CopyPathSet set;
  for (CopyPath path : kCopyPaths) set.add(path);
  return set;
}

CalibrationDevice some_device() { return {"A Device, 80GB", 13000, 12080}; }

// Kernels win below 64 KiB per run, batches from there on; the loop is always there and slow.
std::vector<CalibrationRow> crossing_rows() {
  std::vector<CalibrationRow> rows;
  for (Direction direction : {Direction::kOffload, Direction::kRestore}) {
    for (CalibrationPoint const& point : calibration_points()) {
      bool const is_small = point.run_bytes < (64 << 10);
      rows.push_back({direction, CopyPath::kLoop, point, 3e-3});
      rows.push_back({direction, CopyPath::kKernel, point, is_small ? 1e-5 : 2e-3});
      rows.push_back({direction, CopyPath::kBatch, point, is_small ? 1e-4 : 1e-3});
    }
  }
  return rows;
}

TEST(the_nearest_point_decides_in_octaves) {
  Calibration const table(some_device(), crossing_rows());
  auto const choose = [&](std::uint64_t run_bytes, std::uint64_t num_runs) {
    return table.choose(Direction::kOffload, run_bytes, num_runs, all_paths());
  };
  CHECK_EQUAL(choose(1, 1), CopyPath::kKernel);
  CHECK_EQUAL(choose(31 << 10, 7), CopyPath::kKernel);  // nearer to 16 KiB than to 64 KiB
  CHECK_EQUAL(choose(33 << 10, 7), CopyPath::kBatch);
  CHECK_EQUAL(choose(std::uint64_t{1} << 40, 1'000'000), CopyPath::kBatch);
}

TEST(a_path_that_is_not_usable_or_not_measured_is_not_chosen) {
  Calibration const table(some_device(), crossing_rows());
  CopyPathSet usable;
  usable.add(CopyPath::kStaged);
  CHECK_EQUAL(table.choose(Direction::kRestore, 4096, 16, usable), std::nullopt);
  usable.add(CopyPath::kLoop);
  CHECK_EQUAL(table.choose(Direction::kRestore, 4096, 16, usable), CopyPath::kLoop);
  CHECK_EQUAL(choose_unmeasured(4096, usable), CopyPath::kLoop);
  CHECK_EQUAL(choose_unmeasured(4096, all_paths()), CopyPath::kKernel);
  CHECK_EQUAL(choose_unmeasured(28 << 10, all_paths()), CopyPath::kBatch);
}

TEST(a_saved_table_is_the_same_table) {
  Calibration const table(some_device(), crossing_rows());
  Calibration const again = Calibration::parse(table.text());
  CHECK(again.device() == table.device());
  CHECK_EQUAL(again.text(), table.text());
  CHECK_EQUAL(again.rows().size(), table.rows().size());
}

TEST(a_table_that_does_not_hold_together_is_refused_by_line_or_point) {
  std::string const text = Calibration(some_device(), crossing_rows()).text();
  auto const replaced = [&](std::string const& old_part, std::string const& new_part) {
    std::string changed = text;
    std::size_t const at = changed.find(old_part);
    CHECK(at != std::string::npos);
    return changed.replace(at, old_part.size(), new_part);
  };
  std::size_t const second_line = text.find("offload loop");
  std::size_t const third_line = text.find('\n', second_line) + 1;
  std::string const a_line = text.substr(second_line, third_line - second_line);
  for (std::string const& broken :
       {std::string(), std::string("nonsense\n"), replaced("calibration 1", "calibration 2"), replaced("device A", "devise A"),
        replaced("driver 13000", "driver x"), replaced("runtime 12080\n", ""), replaced("offload loop", "sideways loop"),
        replaced("offload loop", "offload teleport"), replaced("offload loop 4096", "offload loop 4097"),
        replaced("offload loop 4096 1 ", "offload loop 4096 1 -"), replaced("offload loop 4096 1 ", "offload loop 4096 1 1 "),
        replaced("offload loop 4096 1 0.0030000000000000001", "offload loop 4096 1 nan"),
        replaced("offload loop 4096 1 0.0030000000000000001", "offload loop 4096 1 0"), replaced(a_line, a_line + a_line),
        text.substr(0, text.size() / 2)}) {
    CHECK_THROWS(ContractError, Calibration::parse(broken));
  }
}

TEST(a_measurement_has_a_row_for_every_usable_path) {
#ifdef CUDA_EMULATION_THREADS
  std::vector<CalibrationPoint> const points = {{16, 1}};
#else
  std::vector<CalibrationPoint> const points = {{16, 1}, {4096, 16}, {1024, 256}};
#endif
  cuda_emulation::reset({.seed = 2, .driver_version = 12040});
  std::vector<CalibrationRow> const rows = measure(points, {.num_ctas = 2, .num_repeats = 2});
  CHECK_EQUAL(rows.size(), points.size() * 2 * 3);  // no batches before 12.8
  for (CalibrationRow const& row : rows) CHECK(row.seconds > 0 && row.path != CopyPath::kBatch);
  CHECK(cuda_emulation::alive() == cuda_emulation::Alive{});
  cuda_emulation::reset({.num_devices = 0});
  CHECK_THROWS(DeviceError, measure(points, {.num_ctas = 2, .num_repeats = 2}));
}

}  // namespace
}  // namespace residentkv::cuda
