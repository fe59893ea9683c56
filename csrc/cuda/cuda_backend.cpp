#include "cuda/cuda_backend.hpp"

#include <algorithm>

#include "core/check.hpp"

namespace residentkv::cuda {

namespace {

void require_memory(void const* pointer, cudaMemoryType type, char const* what, std::size_t index) {
  cudaPointerAttributes attributes{};
  call("cudaPointerGetAttributes", nullptr, [&] { return cudaPointerGetAttributes(&attributes, pointer); });
  RKV_REQUIRE(attributes.type == type, what, " ", index, " is not in ",
              type == cudaMemoryTypeDevice ? "device memory" : "page-locked host memory");
}

template <typename Field>
void require_distinct(std::span<KernelPair const> pairs, Field field, std::uint32_t bound, char const* what) {
  std::vector<std::uint32_t> numbers;
  numbers.reserve(pairs.size());
  for (KernelPair const& pair : pairs) numbers.push_back(pair.*field);
  std::sort(numbers.begin(), numbers.end());
  RKV_REQUIRE(numbers.back() < bound, what, " ", numbers.back(), " is out of range: there are ", bound);
  auto const twice = std::adjacent_find(numbers.begin(), numbers.end());
  RKV_REQUIRE(twice == numbers.end(), what, " ", *twice, " is named twice");
}

DeviceInfo require_device() {
  std::optional<DeviceInfo> info = find_device();
  if (!info) throw DeviceError("no CUDA device: the driver is missing, too old, or shows none");
  return *std::move(info);
}

}  // namespace

CudaBackend::CudaBackend(Options options) : geometry_(options.geometry), options_(std::move(options)) {
  RKV_REQUIRE(options_.checksum != nullptr, "checksum is null");
  RKV_REQUIRE(options_.max_tickets > 0 && options_.max_pairs_per_ticket > 0 && options_.num_ctas > 0, "max_tickets=", options_.max_tickets,
              " max_pairs_per_ticket=", options_.max_pairs_per_ticket, " num_ctas=", options_.num_ctas, ": all must be > 0");
  DeviceInfo const device = require_device();
  if (options_.calibration) {
    CalibrationDevice const& measured = options_.calibration->device();
    RKV_REQUIRE((measured == CalibrationDevice{device.name, device.driver_version, device.runtime_version}), "the calibration is of '",
                measured.name, "' with driver ", measured.driver_version, " and runtime ", measured.runtime_version, ", and this is '",
                device.name, "' with ", device.driver_version, " and ", device.runtime_version, ": calibrate again");
  }
  for (std::size_t p = 0; p < geometry_.planes().size(); ++p) require_memory(geometry_.planes()[p].base, cudaMemoryTypeDevice, "plane", p);
  require_memory(geometry_.slots(), cudaMemoryTypeHost, "slot", 0);
  require_memory(geometry_.slot(geometry_.num_slots()) - 1, cudaMemoryTypeHost, "slot", geometry_.num_slots() - 1);

  CopyIssuer::Options const issuer{
      .num_ctas = options_.num_ctas, .num_staging_blocks = options_.num_staging_blocks, .has_batch_copies = device.has_batch_copies()};
  int least = 0;
  int greatest = 0;
  RKV_CUDA(cudaDeviceGetStreamPriorityRange, nullptr, &least, &greatest);
  lanes_[static_cast<std::size_t>(Direction::kOffload)] = std::make_unique<Lane>(geometry_, issuer, least);
  lanes_[static_cast<std::size_t>(Direction::kRestore)] = std::make_unique<Lane>(geometry_, issuer, greatest);  // somebody waits for it
  for (std::uint32_t i = 0; i < options_.max_tickets; ++i) {
    flights_.push_back(std::make_unique<Flight>(geometry_.num_layers(), options_.max_pairs_per_ticket));
  }
}

CudaBackend::~CudaBackend() { quiesce(); }

std::optional<CopyTicket> CudaBackend::submit(Submission const& submission) {
  check(submission);
  if (is_lost_) throw DeviceError("the CUDA device is lost: an earlier error could not be waited out; make a new process");
  auto const idle = std::find_if(flights_.begin(), flights_.end(), [](auto const& flight) { return !flight->ticket; });
  if (idle == flights_.end()) return std::nullopt;
  Flight& flight = **idle;
  flight.direction = submission.direction;
  flight.geometry = &geometry_;
  flight.checksum = options_.checksum;
  flight.expected.assign(submission.expected.begin(), submission.expected.end());
  flight.checksums.assign(submission.pairs.size(), 0);
  flight.is_cancelled = false;
  flight.error.clear();
  flight.num_stages = num_stages(submission.direction);
  flight.num_stages_done = 0;
  try {
    enqueue(flight, submission);
  } catch (...) {
    quiesce();  // part of it may be on its way
    throw;
  }
  flight.ticket = CopyTicket{++num_tickets_};
  return flight.ticket;
}

void CudaBackend::check(Submission const& submission) const {
  std::size_t const num_pairs = submission.pairs.size();
  RKV_REQUIRE(num_pairs > 0 && num_pairs <= options_.max_pairs_per_ticket, "num_pairs=", num_pairs, " must be in 1 .. ",
              options_.max_pairs_per_ticket);
  require_distinct(submission.pairs, &KernelPair::block, geometry_.num_blocks(), "block");
  require_distinct(submission.pairs, &KernelPair::slot, geometry_.num_slots(), "slot");
  std::size_t const num_wanted = submission.direction == Direction::kRestore ? num_pairs : 0;
  RKV_REQUIRE(submission.expected.size() == num_wanted, "expected has ", submission.expected.size(), " checksums for ", num_wanted);
}

void CudaBackend::enqueue(Flight& flight, Submission const& submission) {
  Lane& lane = this->lane(flight.direction);
  cudaStream_t const copies = lane.copies.get();
  cudaStream_t const checks = lane.checks.get();
  flight.load(submission.pairs, options_.num_staging_blocks);
#ifndef RKV_PLANT_NO_READY_WAIT
  if (submission.ready != nullptr) RKV_CUDA(cudaStreamWaitEvent, copies, copies, submission.ready, 0U);
#endif
  if (geometry_.suits_kernels()) flight.upload(copies);
  if (flight.direction == Direction::kOffload) {
    enqueue_stage(flight, 0, geometry_.all_planes());
  } else {
    for (std::uint32_t layer = 0; layer < geometry_.num_layers(); ++layer) enqueue_stage(flight, layer, geometry_.layer(layer));
    // The slots are not written while this ticket is open, so they can be checked beside the copies.
    RKV_CUDA(cudaLaunchHostFunc, checks, checks, &Flight::take_checksums, static_cast<void*>(&flight));
  }
#ifndef RKV_PLANT_EARLY_DONE
  RKV_CUDA(cudaStreamWaitEvent, checks, checks, flight.stages[flight.num_stages - 1].get(), 0U);
#endif
  if (flight.direction == Direction::kOffload) {
    RKV_CUDA(cudaLaunchHostFunc, checks, checks, &Flight::take_checksums, static_cast<void*>(&flight));
  }
  RKV_CUDA(cudaEventRecord, checks, flight.done.get(), checks);
}

void CudaBackend::enqueue_stage(Flight& flight, std::uint32_t stage, PlaneRange planes) {
  Lane& lane = this->lane(flight.direction);
  PairLists const lists = flight.lists();
  lane.issuer.issue(path_for(flight.direction, planes, lists.pairs.size()), flight.direction, planes, lists, lane.copies.get());
  RKV_CUDA(cudaEventRecord, lane.copies.get(), flight.stages[stage].get(), lane.copies.get());
}

CopyPath CudaBackend::path_for(Direction direction, PlaneRange planes, std::size_t num_pairs) const {
  CopyPathSet const usable = lane(direction).issuer.usable();
  std::size_t const run_bytes = geometry_.bytes_of(planes) / planes.size();
  if (options_.calibration) {
    if (auto const path = options_.calibration->choose(direction, run_bytes, num_pairs * planes.size(), usable)) return *path;
  }
  return choose_unmeasured(run_bytes, usable);
}

Progress CudaBackend::poll(CopyTicket ticket) {
  Flight& flight = flight_of(ticket);
  if (!flight.error.empty()) return {.is_finished = true, .num_stages_done = flight.num_stages_done};
  try {
    auto const has_ended = [](Event const& event) {
      cudaError_t const code = cudaEventQuery(event.get());
      if (code != cudaSuccess && code != cudaErrorNotReady) {
        static_cast<void>(cudaGetLastError());
        throw CudaError("cudaEventQuery", code, nullptr);
      }
      return code == cudaSuccess;
    };
    while (flight.num_stages_done < flight.num_stages && has_ended(flight.stages[flight.num_stages_done])) ++flight.num_stages_done;
    return {.is_finished = has_ended(flight.done), .num_stages_done = flight.num_stages_done};
  } catch (CudaError const& error) {
    fail(flight, error);
    return {.is_finished = true, .num_stages_done = flight.num_stages_done};
  }
}

void CudaBackend::wait(CopyTicket ticket) {
  Flight& flight = flight_of(ticket);
  if (!flight.error.empty()) return;
  try {
    RKV_CUDA(cudaEventSynchronize, nullptr, flight.done.get());
  } catch (CudaError const& error) {
    fail(flight, error);
  }
}

void CudaBackend::make_wait(CopyTicket ticket, std::uint32_t stage, cudaStream_t consumer) {
  Flight& flight = flight_of(ticket);
  RKV_REQUIRE(stage < flight.num_stages, "stage=", stage, " of ", flight.num_stages);
  RKV_CUDA(cudaStreamWaitEvent, consumer, consumer, flight.stages[stage].get(), 0U);
}

void CudaBackend::cancel(CopyTicket ticket) { flight_of(ticket).is_cancelled = true; }

Outcome CudaBackend::take(CopyTicket ticket) {
  RKV_REQUIRE(poll(ticket).is_finished, "ticket ", static_cast<std::uint64_t>(ticket), " has not finished");
  Flight& flight = flight_of(ticket);
  Outcome outcome{.status = CopyStatus::kDone, .error = flight.error, .checksums = flight.checksums, .failed_pairs = {}};
  for (std::uint32_t i = 0; outcome.error.empty() && i < flight.expected.size(); ++i) {
    if (flight.checksums[i] != flight.expected[i]) outcome.failed_pairs.push_back(i);
  }
  if (!outcome.error.empty() || !outcome.failed_pairs.empty()) outcome.status = CopyStatus::kFailed;
  if (flight.is_cancelled) outcome.status = CopyStatus::kCancelled;
  flight.ticket.reset();
  return outcome;
}

// Ends a ticket whose state can not be asked for any more: nothing of it runs when this returns.
void CudaBackend::fail(Flight& flight, CudaError const& error) noexcept {
  flight.error = error.what();
  quiesce();
}

// Waits until nothing that was enqueued runs any more. A call that reports an error is asked again: the error
// may be of something else. Twice in a row, the device is lost, and lost devices run nothing.
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

std::uint32_t CudaBackend::num_stages(Direction direction) const noexcept {
  return direction == Direction::kRestore ? geometry_.num_layers() : 1;
}

std::size_t CudaBackend::num_open() const noexcept {
  return static_cast<std::size_t>(std::count_if(flights_.begin(), flights_.end(), [](auto const& flight) { return !!flight->ticket; }));
}

Flight& CudaBackend::flight_of(CopyTicket ticket) {
  auto const found = std::find_if(flights_.begin(), flights_.end(), [&](auto const& flight) { return flight->ticket == ticket; });
  RKV_REQUIRE(found != flights_.end(), "ticket ", static_cast<std::uint64_t>(ticket), " is not open");
  return **found;
}

}  // namespace residentkv::cuda
