#include "cuda/measure.hpp"

#include <algorithm>
#include <cstring>

#include "core/check.hpp"
#include "cuda/copy_issuer.hpp"
#include "cuda/device_info.hpp"
#include "cuda/handles.hpp"
#include "cuda/pinned_arena.hpp"

namespace residentkv::cuda {

namespace {

constexpr std::uint32_t kMaxPlanes = 16;

// Blocks, slots and pairs that make up one point. Planes are one block longer than they need, so that no run continues in the next plane.
class Scene {
 public:
  explicit Scene(CalibrationPoint point)
      : num_planes_(std::min(point.num_runs, kMaxPlanes)),
        num_blocks_(point.num_runs / num_planes_),
        plane_bytes_(point.run_bytes * (num_blocks_ + 1)),
        storage_(plane_bytes_ * num_planes_),
        slots_(point.run_bytes * num_planes_ * num_blocks_),
        host_pairs_(2 * num_blocks_ * sizeof(KernelPair)),
        device_pairs_(2 * num_blocks_ * sizeof(KernelPair)),
        geometry_(layout(point), {.base = slots_.data(), .stride_bytes = point.run_bytes * num_planes_, .num_slots = num_blocks_}) {
    std::memset(slots_.data(), 0, slots_.size());
    auto* const pairs = reinterpret_cast<KernelPair*>(host_pairs_.data());
    for (std::uint32_t i = 0; i < num_blocks_; ++i) {
      pairs[i] = {i, i};
      pairs[num_blocks_ + i] = {i, i};
    }
  }

  [[nodiscard]] Geometry const& geometry() const noexcept { return geometry_; }
  void upload(cudaStream_t stream) const {
    RKV_CUDA(cudaMemcpyAsync, stream, device_pairs_.data(), host_pairs_.data(), host_pairs_.size(), cudaMemcpyHostToDevice, stream);
    RKV_CUDA(cudaStreamSynchronize, stream, stream);
  }
  [[nodiscard]] PairLists lists() const noexcept {
    auto const* const on_device = reinterpret_cast<KernelPair const*>(device_pairs_.data());
    return {{reinterpret_cast<KernelPair const*>(host_pairs_.data()), num_blocks_}, on_device, on_device + num_blocks_};
  }

 private:
  [[nodiscard]] KVLayout layout(CalibrationPoint point) const {
    std::vector<Plane> planes;
    for (std::uint32_t p = 0; p < num_planes_; ++p) {
      planes.push_back(
          {.base = storage_.data() + p * plane_bytes_, .stride_bytes = point.run_bytes, .run_bytes = point.run_bytes, .layer = 0});
    }
    return {std::move(planes), num_blocks_};
  }

  std::uint32_t num_planes_;
  std::uint32_t num_blocks_;
  std::size_t plane_bytes_;
  DeviceBuffer storage_;
  PinnedArena slots_;
  PinnedArena host_pairs_;
  DeviceBuffer device_pairs_;
  Geometry geometry_;
};

// Waits on every way out, so that no scratch memory goes while something uses it.
class WaitAtEnd {
 public:
  explicit WaitAtEnd(cudaStream_t stream) : stream_(stream) {}
  ~WaitAtEnd() {
    if (cudaStreamSynchronize(stream_) != cudaSuccess) static_cast<void>(cudaStreamSynchronize(stream_));
  }
  WaitAtEnd(WaitAtEnd const&) = delete;
  WaitAtEnd& operator=(WaitAtEnd const&) = delete;

 private:
  cudaStream_t stream_;
};

double median(std::vector<double> values) {
  auto const middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {}
  template <typename Issue>
  double seconds(Issue issue) const {
    RKV_CUDA(cudaEventRecord, stream_, begin_.get(), stream_);
    issue();
    RKV_CUDA(cudaEventRecord, stream_, end_.get(), stream_);
    RKV_CUDA(cudaEventSynchronize, stream_, end_.get());
    float milliseconds = 0;
    RKV_CUDA(cudaEventElapsedTime, stream_, &milliseconds, begin_.get(), end_.get());
    return std::max(static_cast<double>(milliseconds) * 1e-3, 1e-9);  // the clock ticks in half microseconds
  }

 private:
  cudaStream_t stream_;
  Event begin_{cudaEventDefault};
  Event end_{cudaEventDefault};
};

}  // namespace

std::vector<CalibrationRow> measure(std::span<CalibrationPoint const> points, MeasureOptions options) {
  RKV_REQUIRE(options.num_repeats > 0 && options.num_ctas > 0, "num_repeats=", options.num_repeats, " num_ctas=", options.num_ctas,
              ": both must be > 0");
  std::optional<DeviceInfo> const device = find_device();
  if (!device) throw DeviceError("no CUDA device to calibrate");
  std::vector<CalibrationRow> rows;
  Stream const stream(0);
  Stopwatch const stopwatch(stream.get());
  for (CalibrationPoint const& point : points) {
    RKV_REQUIRE(point.num_runs > 0 && point.run_bytes > 0 && point.run_bytes % kVectorBytes == 0, "point of ", point.num_runs, " runs of ",
                point.run_bytes, " bytes");
    Scene const scene(point);
    CopyIssuer const issuer(
        scene.geometry(),
        {.num_ctas = options.num_ctas, .num_staging_blocks = scene.geometry().num_blocks(), .has_batch_copies = device->has_batch_copies()},
        stream.get());
    WaitAtEnd const wait(stream.get());
    scene.upload(stream.get());
    for (Direction direction : {Direction::kOffload, Direction::kRestore}) {
      for (CopyPath path : kCopyPaths) {
        if (!issuer.usable().has(path)) continue;
        auto const issue = [&] { issuer.issue(path, direction, scene.geometry().all_planes(), scene.lists(), stream.get()); };
        std::vector<double> seconds;
        static_cast<void>(stopwatch.seconds(issue));
        for (std::uint32_t i = 0; i < options.num_repeats; ++i) seconds.push_back(stopwatch.seconds(issue));
        rows.push_back({direction, path, point, median(std::move(seconds))});
      }
    }
  }
  return rows;
}

Calibration calibrate(MeasureOptions options) {
  std::vector<CalibrationRow> rows = measure(calibration_points(), options);
  DeviceInfo const device = *find_device();
  return {{device.name, device.driver_version, device.runtime_version}, std::move(rows)};
}

}  // namespace residentkv::cuda
