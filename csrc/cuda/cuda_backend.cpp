#include "cuda/cuda_backend.hpp"

#include <algorithm>
#include <thread>

#include "core/check.hpp"

namespace residentkv::cuda {

namespace {

constexpr auto kPause = std::chrono::microseconds(20);  // between two looks at a job that is waited for

cudaMemoryType memory_type(void const* pointer) {
  cudaPointerAttributes attributes{};
  call("cudaPointerGetAttributes", nullptr, [&] { return cudaPointerGetAttributes(&attributes, pointer); });
  return attributes.type;
}

DeviceInfo require_device() {
  std::optional<DeviceInfo> info = find_device();
  if (!info) throw DeviceError("no CUDA device: the driver is missing, too old, or shows none");
  return *std::move(info);
}

void require_measured_here(Calibration const& calibration, DeviceInfo const& device) {
  CalibrationDevice const& measured = calibration.device();
  CalibrationDevice const here{device.name, device.driver_version, device.runtime_version};
  RKV_REQUIRE(measured == here, "the calibration is of '", measured.name, "' with driver ", measured.driver_version, " and runtime ",
              measured.runtime_version, ", and this is '", here.name, "' with ", here.driver_version, " and ", here.runtime_version,
              ": calibrate again");
}

bool has_passed(cudaEvent_t event) {
  cudaError_t const code = cudaEventQuery(event);
  if (code == cudaSuccess || code == cudaErrorNotReady) return code == cudaSuccess;
  static_cast<void>(cudaGetLastError());
  throw CudaError("cudaEventQuery", code, nullptr);
}

}  // namespace

CudaBackend::CudaBackend(KVLayout const& layout, HostSlots slots, Options options)
    : options_(std::move(options)), geometry_(layout, slots) {
  RKV_REQUIRE(options_.max_started > 0 && options_.max_pairs > 0 && options_.num_ctas > 0, "max_started=", options_.max_started,
              " max_pairs=", options_.max_pairs, " num_ctas=", options_.num_ctas, ": all must be > 0");
  DeviceInfo const device = require_device();
  if (options_.calibration) require_measured_here(*options_.calibration, device);
  for (std::size_t p = 0; p < geometry_.planes().size(); ++p) {
    RKV_REQUIRE(memory_type(geometry_.planes()[p].base) == cudaMemoryTypeDevice, "plane ", p, " is not in device memory");
  }
  cudaMemoryType const slots_type = memory_type(slots.base);
  RKV_REQUIRE(slots_type != cudaMemoryTypeDevice, "the slots are in device memory");
  if (slots_type == cudaMemoryTypeUnregistered) pinned_.emplace(slots.base, slots.stride_bytes * slots.num_slots);
  RKV_REQUIRE(memory_type(geometry_.slot(slots.num_slots) - 1) == cudaMemoryTypeHost, "the last slot is not in page-locked memory");

  CopyIssuer::Options const issuer{
      .num_ctas = options_.num_ctas, .num_staging_blocks = options_.num_staging_blocks, .has_batch_copies = device.has_batch_copies()};
  int least = 0;
  int greatest = 0;
  RKV_CUDA(cudaDeviceGetStreamPriorityRange, nullptr, &least, &greatest);
  lanes_[static_cast<std::size_t>(Direction::kOffload)] = std::make_unique<Lane>(geometry_, issuer, least);
  lanes_[static_cast<std::size_t>(Direction::kRestore)] = std::make_unique<Lane>(geometry_, issuer, greatest);  // somebody waits for it
  for (std::uint32_t i = 0; i < options_.max_started; ++i) {
    flights_.push_back(std::make_unique<Flight>(geometry_.num_layers(), options_.max_pairs));
  }
}

CudaBackend::~CudaBackend() { quiesce(); }

void CudaBackend::begin_after(std::uintptr_t event) {
  RKV_REQUIRE(event != 0, "event is null");
#ifndef RKV_PLANT_NO_READY_WAIT
  auto const handle = reinterpret_cast<cudaEvent_t>(event);
  for (auto const& lane : lanes_) RKV_CUDA(cudaStreamWaitEvent, lane->copies.get(), lane->copies.get(), handle, 0U);
#endif
}

void CudaBackend::make_wait(CopyJob const& job, std::uint32_t layer, cudaStream_t consumer) {
  auto const found = std::ranges::find_if(flights_, [&](auto const& flight) { return !flight->is_idle() && &flight->job() == &job; });
  if (found == flights_.end() && job.is_over()) return;
  RKV_REQUIRE(found != flights_.end() && layer < (*found)->num_stages(), "layer ", layer, " of a job that is not under way here");
  RKV_CUDA(cudaStreamWaitEvent, consumer, consumer, (*found)->landed(layer), 0U);
}

void CudaBackend::start(std::shared_ptr<CopyJob> job) {
  auto const idle = std::ranges::find_if(flights_, [](auto const& flight) { return flight->is_idle(); });
  RKV_REQUIRE(idle != flights_.end(), options_.max_started, " jobs are under way, and that is all this backend takes");
  Flight& flight = **idle;
  try {
    flight.take(job, geometry_, options_.num_staging_blocks);
  } catch (ContractError const& error) {  // the engine has given the job out already: it has to end
    JobProgress progress(std::move(job));
    progress.job().error = CopyError::kDevice;
    progress.job().error_detail = error.what();
    return progress.finish();
  }
  if (is_lost_) return flight.fail("the CUDA device is lost: an earlier error could not be waited out");
  try {
    enqueue(flight);
  } catch (DeviceError const& error) {
    fail(flight, error.what());  // part of it may be on its way
  }
}

void CudaBackend::enqueue(Flight& flight) {
  Direction const direction = flight.job().direction;
  Lane& lane = this->lane(direction);
  cudaStream_t const copies = lane.copies.get();
  cudaStream_t const checks = lane.checks.get();
  PairLists const lists = flight.lists();
  if (geometry_.suits_kernels()) flight.upload(copies);
  for (std::uint32_t stage = 0; stage < flight.num_stages(); ++stage) {
    PlaneRange const planes = direction == Direction::kRestore ? geometry_.layer(stage) : geometry_.all_planes();
    lane.issuer.issue(path_for(direction, planes, lists.pairs.size()), direction, planes, lists, copies);
    RKV_CUDA(cudaEventRecord, copies, flight.landed(stage), copies);
    // Slots are not written during a restore: they are checked beside the copies. An offload's have to land first.
    if (direction == Direction::kRestore) flight.enqueue_checksums(stage, checks);
#ifndef RKV_PLANT_EARLY_DONE
    RKV_CUDA(cudaStreamWaitEvent, checks, checks, flight.landed(stage), 0U);
#endif
    if (direction == Direction::kOffload) flight.enqueue_checksums(stage, checks);
    RKV_CUDA(cudaEventRecord, checks, flight.done(stage), checks);
  }
}

CopyPath CudaBackend::path_for(Direction direction, PlaneRange planes, std::size_t num_pairs) const {
  CopyPathSet const usable = lane(direction).issuer.usable();
  std::size_t const run_bytes = geometry_.bytes_of(planes) / planes.size();
  if (options_.calibration) {
    if (auto const path = options_.calibration->choose(direction, run_bytes, num_pairs * planes.size(), usable)) return *path;
  }
  return choose_unmeasured(run_bytes, usable);
}

void CudaBackend::poll() {
  for (auto const& flight : flights_) {
    if (!flight->is_idle()) advance(*flight);
  }
}

void CudaBackend::advance(Flight& flight) {
  try {
    while (flight.num_settled() < flight.num_stages()) {
      if (!has_passed(flight.done(flight.num_settled()))) return;
      flight.settle();
    }
  } catch (CudaError const& error) {
    return fail(flight, error.what());
  }
  flight.finish();
}

bool CudaBackend::wait(CopyJob& job, std::uint32_t num_layers, std::chrono::steady_clock::time_point deadline) {
  while (true) {
    poll();
    if (job.is_over() || job.num_layers_done.load(std::memory_order_acquire) >= num_layers) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPause);
  }
}

// Ends a job whose state can not be asked for any more: nothing of it runs when this returns.
void CudaBackend::fail(Flight& flight, char const* detail) {
  quiesce();
  flight.fail(detail);
}

// Waits until nothing that was enqueued runs any more. A call that reports an error is asked again: the error may be of something else.
// Twice in a row, the device is lost, and lost devices run nothing.
void CudaBackend::quiesce() noexcept {
  for (auto const& lane : lanes_) {
    if (!lane) continue;
    for (Stream const* stream : {&lane->copies, &lane->checks}) {
      if (cudaStreamSynchronize(stream->get()) == cudaSuccess || cudaStreamSynchronize(stream->get()) == cudaSuccess) continue;
      is_lost_ = true;
    }
  }
  static_cast<void>(cudaGetLastError());
}

}  // namespace residentkv::cuda
