// Every CUDA call of the backend fails once, and for good: a clear error or a failed ticket, never a wrong answer, nothing left behind.
// Fiber mode only: hundreds of whole runs, and nothing that threads would show.
#ifndef CUDA_EMULATION_THREADS
#include "cuda/backend_scene.hpp"
#include "cuda/measure.hpp"

namespace residentkv::cuda {
namespace {

using namespace residentkv::testing;
using cuda_emulation::Lasting;

std::vector<BlockToSlot> out_pairs() { return {{4, 0}, {0, 5}, {2, 3}}; }
std::vector<BlockToSlot> back_pairs() { return {{1, 3}, {3, 0}}; }

// Errors of these are not reported: nothing can be done about them. A lasting one shows with the next call.
bool gives_back(std::string const& function) {
  return function == "cudaStreamDestroy" || function == "cudaEventDestroy" || function == "cudaFree" || function == "cudaFreeHost" ||
         function == "cudaHostUnregister";
}

// Failures that this run met, in the order in which they showed.
struct Report {
  std::vector<std::string> errors;
  bool offloaded = false;
  bool restored = false;
};

void note(Report& report, CopyJob const& job) {
  CHECK(job.is_over());
  if (job.state.load() == CopyState::kFailed) {
    CHECK_EQUAL(job.error, CopyError::kDevice);
    report.errors.push_back(job.error_detail);
  }
}

void run_backend(Storage const& storage, CopyPath path, cudaStream_t model, cudaEvent_t ready, Report& report) {
  CudaBackend backend(layout_of(storage), slots_of(storage), options_with(favouring(path)));
  backend.begin_after(reinterpret_cast<std::uintptr_t>(ready));
  auto const left = run(backend, plan(storage, Direction::kOffload, out_pairs()));
  note(report, *left);
  report.offloaded = left->state == CopyState::kDone;
  if (!report.offloaded) return;
  std::vector<std::uint64_t> const& taken = left->checksums;
  std::vector<std::uint64_t> const expected = {taken[4], taken[5], taken[0], taken[1]};  // slots 3 and 0, two layers each
  auto const came = plan(storage, Direction::kRestore, back_pairs(), expected);
  backend.start(came);
  backend.make_wait(*came, 0, model);
  finish(backend, *came);
  note(report, *came);
  report.restored = came->state == CopyState::kDone;
}

// Runs the scenario with one fault and checks what must hold whatever happened. Returns the calls it made.
std::map<std::string, std::uint64_t> run_with(CopyPath path, std::string const& function, std::uint64_t nth, Lasting lasting) {
  cuda_emulation::reset({.seed = nth, .order = nth % 2 == 0 ? cuda_emulation::Order::kLazy : cuda_emulation::Order::kRandom});
  Storage storage(small_planes(), 5, 6);
  TestStream model;
  TestEvent ready;
  check_success(cudaEventRecord(ready, model));
  cuda_emulation::Alive const before = cuda_emulation::alive();
  auto const calls_before = cuda_emulation::calls();
  if (nth > 0) cuda_emulation::inject(function, nth, cudaErrorUnknown, lasting);
  Report report;
  try {
    run_backend(storage, path, model, ready, report);
  } catch (DeviceError const& error) {
    report.errors.emplace_back(error.what());
  }
  CHECK(cuda_emulation::alive() == before);
  bool const has_fired = cuda_emulation::has_fired();  // polls are more or fewer from seed to seed
  cuda_emulation::clear_faults();
  check_success(cudaStreamSynchronize(model));

  // What is given back, and waits that are tried again, may fail without a word; everything else is named where it shows.
  bool const is_silent = gives_back(function) || (function == "cudaStreamSynchronize" && report.errors.empty());
  bool const is_named = !report.errors.empty() && contains(report.errors.front(), function) && contains(report.errors.front(), "code=999");
  if (has_fired && !is_silent && !is_named) {
    std::cerr << function << " call " << nth << ": errors=" << (report.errors.empty() ? "none" : report.errors.front()) << "\n";
  }
  CHECK(!has_fired || is_silent || is_named);
  CHECK(has_fired || report.errors.empty());

  // Never "done" with other bytes than the right ones.
  if (report.offloaded) storage.expect_offload(out_pairs());
  if (report.restored) storage.expect_restore(back_pairs());
  if (report.offloaded && (report.restored || report.errors.empty())) CHECK(storage.is_as_expected());
  CHECK(has_fired || report.restored);
  std::map<std::string, std::uint64_t> calls;
  for (auto const& [name, count] : cuda_emulation::calls()) {
    auto const earlier = calls_before.find(name);
    calls[name] = count - (earlier == calls_before.end() ? 0 : earlier->second);
  }
  return calls;
}

TEST(every_cuda_call_of_the_backend_may_fail_at_every_time) {
  std::size_t num_runs = 0;
  for (CopyPath path : kCopyPaths) {
    auto const calls = run_with(path, "", 0, Lasting::kOnce);
    for (auto const& [function, count] : calls) {
      for (std::uint64_t nth = 1; nth <= count; ++nth) {
        // The scenario's own two calls after the fault is gone are counted as well and never reached.
        if (function == "cudaMemcpy" || (function == "cudaStreamSynchronize" && nth == count)) continue;
        run_with(path, function, nth, Lasting::kOnce);
        run_with(path, function, nth, Lasting::kFromNow);
        num_runs += 2;
      }
    }
  }
  CHECK(num_runs > 300);
}

TEST(running_out_of_memory_has_its_own_errors) {
  cuda_emulation::reset({});
  Storage const storage(small_planes(), 5, 6);
  cuda_emulation::Alive const before = cuda_emulation::alive();
  cuda_emulation::inject("cudaMalloc", 2, cudaErrorMemoryAllocation);
  CHECK_THROWS(OutOfDeviceMemory, CudaBackend(layout_of(storage), slots_of(storage), small_options()));
  cuda_emulation::inject("cudaHostAlloc", 1, cudaErrorMemoryAllocation);
  CHECK_THROWS(PinnedHostError, CudaBackend(layout_of(storage), slots_of(storage), small_options()));
  CHECK_THROWS(PinnedHostError, PinnedArena(std::size_t{1} << 40));
  CHECK_EQUAL(cudaGetLastError(), cudaSuccess);  // what was reported is not left for the next caller
  CHECK(cuda_emulation::alive() == before);
}

TEST(a_lost_device_fails_what_is_under_way_and_all_that_comes) {
  cuda_emulation::reset({.order = cuda_emulation::Order::kLazy});
  Storage const storage(small_planes(), 5, 6);
  CudaBackend backend(layout_of(storage), slots_of(storage), small_options());
  auto const first = plan(storage, Direction::kOffload, {{0, 0}});
  auto const second = plan(storage, Direction::kOffload, {{1, 1}});
  backend.start(first);
  backend.start(second);
  cuda_emulation::inject("cudaEventQuery", 1, cudaErrorIllegalAddress, Lasting::kFromNow);
  backend.poll();
  CHECK(backend.is_lost());
  for (CopyJob const* job : {first.get(), second.get()}) {
    CHECK_EQUAL(job->state.load(), CopyState::kFailed);
    CHECK(contains(job->error_detail, "code=700 (cudaErrorIllegalAddress)"));
  }
  auto const third = plan(storage, Direction::kOffload, {{2, 2}});
  backend.start(third);
  CHECK_EQUAL(third->state.load(), CopyState::kFailed);
  CHECK(contains(third->error_detail, "lost"));
  cuda_emulation::clear_faults();
}

TEST(every_cuda_call_of_a_measurement_may_fail_at_every_time) {
  std::vector<CalibrationPoint> const points = {{16, 1}, {32, 16}};
  cuda_emulation::reset({.seed = 4});
  CHECK_EQUAL(measure(points, {.num_ctas = 1, .num_repeats = 1}).size(), 2 * 2 * kCopyPaths.size());
  auto const calls = cuda_emulation::calls();
  for (auto const& [function, count] : calls) {
    for (std::uint64_t nth = 1; nth <= count; nth += 1 + count / 8) {  // a sample: the calls repeat from path to path
      for (Lasting lasting : {Lasting::kOnce, Lasting::kFromNow}) {
        cuda_emulation::reset({.seed = nth});
        cuda_emulation::inject(function, nth, cudaErrorUnknown, lasting);
        try {
          static_cast<void>(measure(points, {.num_ctas = 1, .num_repeats = 1}));
        } catch (CudaError const& error) {
          CHECK(contains(error.call(), function) || gives_back(function) || function == "cudaStreamSynchronize");
        }
        CHECK(cuda_emulation::alive() == cuda_emulation::Alive{});
      }
    }
  }
}

}  // namespace
}  // namespace residentkv::cuda

#endif
