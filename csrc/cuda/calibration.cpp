#include "cuda/calibration.hpp"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>

#include "core/check.hpp"

namespace residentkv::cuda {

namespace {

constexpr std::string_view kHeader = "residentkv copy calibration 1";
constexpr std::uint64_t kUnmeasuredCrossoverBytes = 28 << 10;
constexpr std::array<std::string_view, 2> kDirectionNames{"offload", "restore"};

std::size_t index_of(Direction direction) { return static_cast<std::size_t>(direction); }

// Index of the value whose logarithm is nearest to that of `wanted`; ascending `values`.
template <typename Values>
std::size_t nearest(Values const& values, std::uint64_t wanted) {
  std::size_t best = 0;
  auto const octaves = [&](std::uint64_t value) {
    return std::abs(std::log2(static_cast<double>(value)) - std::log2(static_cast<double>(std::max<std::uint64_t>(wanted, 1))));
  };
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (octaves(values[i]) < octaves(values[best])) best = i;
  }
  return best;
}

std::size_t point_index(std::size_t run_index, std::size_t count_index) { return run_index * kNumRuns.size() + count_index; }

std::size_t cell(Direction direction, std::size_t point, CopyPath path) {
  return (index_of(direction) * kRunBytes.size() * kNumRuns.size() + point) * kCopyPaths.size() + index_of(path);
}

std::optional<std::size_t> index_of_point(CalibrationPoint const& point) {
  auto const run = std::find(kRunBytes.begin(), kRunBytes.end(), point.run_bytes);
  auto const count = std::find(kNumRuns.begin(), kNumRuns.end(), point.num_runs);
  if (run == kRunBytes.end() || count == kNumRuns.end() || point.run_bytes * point.num_runs > kMaxPointBytes) return std::nullopt;
  return point_index(static_cast<std::size_t>(run - kRunBytes.begin()), static_cast<std::size_t>(count - kNumRuns.begin()));
}

template <typename Number>
Number number(std::string_view word, std::size_t line) {
  Number value{};
  auto const [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  RKV_REQUIRE(error == std::errc() && end == word.data() + word.size(), "calibration line ", line, ": '", word, "' is not a number");
  return value;
}

template <typename Names>
std::size_t index_of_name(Names const& names, std::string_view word, std::size_t line) {
  auto const found = std::find(names.begin(), names.end(), word);
  RKV_REQUIRE(found != names.end(), "calibration line ", line, ": unknown word '", word, "'");
  return static_cast<std::size_t>(found - names.begin());
}

}  // namespace

std::vector<CalibrationPoint> calibration_points() {
  std::vector<CalibrationPoint> points;
  for (std::uint64_t run_bytes : kRunBytes) {
    for (std::uint32_t num_runs : kNumRuns) {
      if (run_bytes * num_runs <= kMaxPointBytes) points.push_back({run_bytes, num_runs});
    }
  }
  return points;
}

Calibration::Calibration(CalibrationDevice device, std::vector<CalibrationRow> rows)
    : device_(std::move(device)),
      rows_(std::move(rows)),
      seconds_(kDirectionNames.size() * kRunBytes.size() * kNumRuns.size() * kCopyPaths.size(), std::numeric_limits<double>::infinity()) {
  RKV_REQUIRE(device_.name.find('\n') == std::string::npos, "the device's name has more than one line");
  for (CalibrationRow const& row : rows_) {
    std::optional<std::size_t> const point = index_of_point(row.point);
    RKV_REQUIRE(point, "calibration: ", row.point.num_runs, " runs of ", row.point.run_bytes, " bytes are not a point of the grid");
    RKV_REQUIRE(std::isfinite(row.seconds) && row.seconds > 0, "calibration: ", row.seconds, " seconds");
    double& seconds = seconds_[cell(row.direction, *point, row.path)];
    RKV_REQUIRE(std::isinf(seconds), "calibration: ", name_of(row.path), " with ", row.point.num_runs, " runs of ", row.point.run_bytes,
                " bytes is there twice");
    seconds = row.seconds;
  }
  for (Direction direction : {Direction::kOffload, Direction::kRestore}) {
    for (CalibrationPoint const& point : calibration_points()) {
      auto const first = seconds_.begin() + static_cast<std::ptrdiff_t>(cell(direction, *index_of_point(point), kCopyPaths.front()));
      bool const measured =
          std::any_of(first, first + static_cast<std::ptrdiff_t>(kCopyPaths.size()), [](double s) { return std::isfinite(s); });
      RKV_REQUIRE(measured, "calibration: no row for ", kDirectionNames[index_of(direction)], " of ", point.num_runs, " runs of ",
                  point.run_bytes, " bytes");
    }
  }
}

std::optional<CopyPath> Calibration::choose(Direction direction, std::uint64_t run_bytes, std::uint64_t num_runs,
                                            CopyPathSet usable) const {
  std::size_t const run_index = nearest(kRunBytes, run_bytes);
  std::size_t count_index = nearest(kNumRuns, num_runs);
  while (kRunBytes[run_index] * kNumRuns[count_index] > kMaxPointBytes) --count_index;
  std::optional<CopyPath> best;
  double best_seconds = std::numeric_limits<double>::infinity();
  for (CopyPath path : kCopyPaths) {
    double const seconds = seconds_[cell(direction, point_index(run_index, count_index), path)];
    if (usable.has(path) && seconds < best_seconds) {
      best = path;
      best_seconds = seconds;
    }
  }
  return best;
}

std::string Calibration::text() const {
  std::ostringstream out;
  out << kHeader << "\ndevice " << device_.name << "\ndriver " << device_.driver_version << "\nruntime " << device_.runtime_version << "\n";
  out << std::setprecision(std::numeric_limits<double>::max_digits10);
  for (CalibrationRow const& row : rows_) {
    out << kDirectionNames[index_of(row.direction)] << ' ' << name_of(row.path) << ' ' << row.point.run_bytes << ' ' << row.point.num_runs
        << ' ' << row.seconds << "\n";
  }
  return out.str();
}

Calibration Calibration::parse(std::string_view text) {
  std::istringstream lines{std::string(text)};
  std::string line;
  std::size_t line_number = 0;
  auto const next = [&] {
    ++line_number;
    return static_cast<bool>(std::getline(lines, line));
  };
  auto const value_of = [&](std::string_view key) {
    RKV_REQUIRE(next() && line.starts_with(key) && line.size() > key.size(), "calibration line ", line_number, ": expected '", key, "...'");
    return std::string(line.substr(key.size()));
  };
  RKV_REQUIRE(next() && line == kHeader, "calibration line 1: expected '", kHeader, "'");
  CalibrationDevice device{};
  device.name = value_of("device ");
  device.driver_version = number<int>(value_of("driver "), 3);
  device.runtime_version = number<int>(value_of("runtime "), 4);
  std::vector<CalibrationRow> rows;
  while (next()) {
    std::istringstream words(line);
    std::string direction, path, run_bytes, num_runs, seconds, rest;
    words >> direction >> path >> run_bytes >> num_runs >> seconds;
    RKV_REQUIRE(!seconds.empty() && !(words >> rest), "calibration line ", line_number, ": expected five words");
    rows.push_back({.direction = static_cast<Direction>(index_of_name(kDirectionNames, direction, line_number)),
                    .path = kCopyPaths[index_of_name(kCopyPathNames, path, line_number)],
                    .point = {number<std::uint64_t>(run_bytes, line_number), number<std::uint32_t>(num_runs, line_number)},
                    .seconds = number<double>(seconds, line_number)});
  }
  return {std::move(device), std::move(rows)};
}

CopyPath choose_unmeasured(std::uint64_t run_bytes, CopyPathSet usable) {
  bool const is_small = run_bytes < kUnmeasuredCrossoverBytes;
  for (CopyPath path : is_small ? std::array{CopyPath::kKernel, CopyPath::kBatch} : std::array{CopyPath::kBatch, CopyPath::kKernel}) {
    if (usable.has(path)) return path;
  }
  return CopyPath::kLoop;
}

}  // namespace residentkv::cuda
