#include "cuda/cuda_backend.hpp"

#include "copy/engine.hpp"
#include "core/check.hpp"
#include "cuda/backend_scene.hpp"

namespace residentkv::cuda {
namespace {

using namespace residentkv::testing;
using cuda_emulation::Order;

std::vector<BlockToSlot> some_pairs() { return {{4, 0}, {0, 5}, {2, 3}}; }
std::vector<BlockToSlot> other_pairs() { return {{1, 3}, {3, 0}}; }

void round_trip(Storage& storage, CudaBackend::Options options) {
  CudaBackend backend(layout_of(storage), slots_of(storage), std::move(options));
  auto const left = run(backend, plan(storage, Direction::kOffload, some_pairs()));
  storage.expect_offload(some_pairs());
  CHECK(storage.is_as_expected());
  CHECK_EQUAL(left->state.load(), CopyState::kDone);
  CHECK(left->checksums == wanted_checksums(storage, some_pairs()));

  auto const came = run(backend, plan(storage, Direction::kRestore, other_pairs(), wanted_checksums(storage, other_pairs())));
  storage.expect_restore(other_pairs());
  CHECK(storage.is_as_expected());
  CHECK_EQUAL(came->state.load(), CopyState::kDone);
  CHECK_EQUAL(came->num_layers_done.load(), came->num_layers);
}

TEST(every_path_moves_the_same_bytes_and_touches_no_other) {
  for (CopyPath path : kCopyPaths) {
    for (Order order : {Order::kLazy, Order::kRandom}) {
      cuda_emulation::reset({.seed = 1 + index_of(path), .order = order});
      Storage storage(small_planes(), 5, 6);
      round_trip(storage, options_with(favouring(path)));
    }
  }
}

TEST(the_engine_drives_it_like_any_backend) {
  cuda_emulation::reset({.seed = 8});
  Storage storage(small_planes(), 5, 6);
  CopyEngine engine(layout_of(storage), {storage.slots(), storage.block_bytes(), storage.num_slots()},
                    std::make_unique<CudaBackend>(layout_of(storage), slots_of(storage), small_options()), 3);
  auto const wait_for = [&](TicketId ticket) {
    CHECK(engine.wait(ticket, std::chrono::seconds(60)));
    std::vector<CopyResult> results = engine.poll();
    CHECK_EQUAL(results.size(), std::size_t{1});
    return std::move(results.front());
  };
  std::vector<BlockPair> const out = {{BlockId{4}, SlotId{0}}, {BlockId{0}, SlotId{5}}};
  CopyResult const left = wait_for(*engine.offload(out));
  CHECK_EQUAL(left.state, CopyState::kDone);
  std::vector<BlockPair> const back = {{BlockId{1}, SlotId{0}}, {BlockId{2}, SlotId{5}}};
  TicketId const ticket = *engine.restore(back, left.checksums);
  CHECK(engine.wait_layers(ticket, 1, std::chrono::seconds(60)));
  CHECK_EQUAL(wait_for(ticket).state, CopyState::kDone);
  storage.expect_offload({{4, 0}, {0, 5}});
  storage.expect_restore({{1, 0}, {2, 5}});
  CHECK(storage.is_as_expected());
}

TEST(without_a_table_the_path_follows_size_and_what_is_there) {
  cuda_emulation::reset({});
  Storage const storage({{1 << 16, 1 << 16}, {64, 64}}, 2, 2);
  CudaBackend const backend(layout_of(storage), slots_of(storage), small_options());
  CHECK_EQUAL(backend.path_for(Direction::kOffload, {0, 1}, 1), CopyPath::kBatch);
  CHECK_EQUAL(backend.path_for(Direction::kOffload, {1, 2}, 1), CopyPath::kKernel);
}

TEST(unaligned_storage_and_an_old_driver_leave_the_loop) {
  cuda_emulation::reset({.driver_version = 12040});
  Storage storage({{40, 24}, {8, 8}}, 5, 6);
  {
    CudaBackend const backend(layout_of(storage), slots_of(storage), small_options());
    CHECK(backend.usable_paths().has(CopyPath::kLoop));
    CHECK(!backend.usable_paths().has(CopyPath::kBatch) && !backend.usable_paths().has(CopyPath::kKernel));
  }
  round_trip(storage, options_with(favouring(CopyPath::kBatch, 12040)));  // not usable here: the table's next best is
}

TEST(runs_that_continue_each_other_are_one_copy) {
  cuda_emulation::reset({});
  Storage storage({{64, 64}}, 5, 6);
  CudaBackend backend(layout_of(storage), slots_of(storage), options_with(favouring(CopyPath::kLoop)));
  std::uint64_t const before = cuda_emulation::calls().at("cudaMemcpyAsync");
  std::vector<BlockToSlot> const pairs = {{1, 2}, {2, 3}, {3, 4}, {0, 0}};
  run(backend, plan(storage, Direction::kOffload, pairs));
  CHECK_EQUAL(cuda_emulation::calls().at("cudaMemcpyAsync") - before, std::uint64_t{1 + 2});  // the list of pairs, two runs
  storage.expect_offload(pairs);
  CHECK(storage.is_as_expected());
}

TEST(copies_begin_after_the_event_they_were_given) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    cuda_emulation::reset({.seed = seed, .order = seed % 2 == 0 ? Order::kLazy : Order::kRandom});
    Storage storage({{64, 64}}, 5, 6);
    HostBytes fresh(64);
    for (std::size_t i = 0; i < 64; ++i) fresh.data()[i] = pattern(77 + seed, i);
    CudaBackend backend(layout_of(storage), slots_of(storage), small_options());
    TestStream model;
    TestEvent written;
    check_success(cudaMemcpyAsync(storage.plane(0), fresh.data(), 64, cudaMemcpyHostToDevice, model));
    check_success(cudaEventRecord(written, model));
    backend.begin_after(reinterpret_cast<std::uintptr_t>(static_cast<cudaEvent_t>(written)));
    run(backend, plan(storage, Direction::kOffload, {{0, 2}}));
    CHECK(std::equal(fresh.data(), fresh.data() + 64, storage.slots() + 2 * 64));
    check_success(cudaStreamSynchronize(model));
  }
}

TEST(a_consumer_that_waits_for_a_layer_finds_it_in_place) {
  cuda_emulation::reset({.order = Order::kLazy});
  Storage storage(small_planes(), 5, 6);
  CudaBackend backend(layout_of(storage), slots_of(storage), options_with(favouring(CopyPath::kStaged)));
  auto const job = plan(storage, Direction::kRestore, {{2, 4}}, wanted_checksums(storage, {{2, 4}}));
  backend.start(job);
  TestStream model;
  PlaneShape const& shape = storage.shape(0);
  HostBytes seen(shape.run_bytes);
  backend.make_wait(*job, 0, model);
  std::byte const* const block = storage.plane(0) + 2 * shape.stride_bytes;
  check_success(cudaMemcpyAsync(seen.data(), block, shape.run_bytes, cudaMemcpyDeviceToHost, model));
  check_success(cudaStreamSynchronize(model));
  CHECK(std::equal(seen.data(), seen.data() + shape.run_bytes, storage.slots() + 4 * storage.block_bytes()));
  CHECK_THROWS(ContractError, backend.make_wait(*job, 2, model));
  finish(backend, *job);
  backend.make_wait(*job, 0, model);  // over: nothing to wait for
  CHECK_EQUAL(job->state.load(), CopyState::kDone);
}

TEST(a_job_is_over_when_its_bytes_have_landed_and_not_before) {
  cuda_emulation::reset({.order = Order::kLazy});
  Storage storage(small_planes(), 5, 6);
  CudaBackend backend(layout_of(storage), slots_of(storage), small_options());
  auto const left = run(backend, plan(storage, Direction::kOffload, some_pairs()));
  storage.expect_offload(some_pairs());
  CHECK(storage.is_as_expected());
  CHECK(left->checksums == wanted_checksums(storage, some_pairs()));
  run(backend, plan(storage, Direction::kRestore, other_pairs(), wanted_checksums(storage, other_pairs())));
  storage.expect_restore(other_pairs());
  CHECK(storage.is_as_expected());
}

TEST(a_slot_that_changed_at_rest_is_named_and_the_others_are_not) {
  cuda_emulation::reset({.seed = 9});
  Storage storage(small_planes(), 5, 6);
  CudaBackend backend(layout_of(storage), slots_of(storage), small_options());
  auto const left = run(backend, plan(storage, Direction::kOffload, some_pairs()));
  storage.expect_offload(some_pairs());
  storage.spoil_slot(5, storage.block_bytes() - 1);  // in the last layer
  auto const came = run(backend, plan(storage, Direction::kRestore, some_pairs(), left->checksums));
  CHECK_EQUAL(came->state.load(), CopyState::kFailed);
  CHECK_EQUAL(came->error, CopyError::kChecksum);
  CHECK(came->failed_pairs == std::vector<std::uint32_t>{1});
  CHECK_EQUAL(came->num_layers_done.load(), 1U);
}

TEST(jobs_it_can_not_carry_out_end_and_more_than_it_takes_are_refused) {
  cuda_emulation::reset({.order = Order::kLazy});
  Storage storage(small_planes(), 5, 6);
  Storage const other({{64, 64}}, 5, 6);
  CudaBackend backend(layout_of(storage), slots_of(storage), small_options());
  for (auto const& [job, words] :
       {std::pair(plan(other, Direction::kOffload, {{0, 0}}), "a layout of 2"),
        std::pair(plan(storage, Direction::kOffload, {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}}), "takes 1 .. 4")}) {
    backend.start(job);
    CHECK_EQUAL(job->state.load(), CopyState::kFailed);
    CHECK_EQUAL(job->error, CopyError::kDevice);
    CHECK(contains(job->error_detail, words));
  }
  auto const first = plan(storage, Direction::kOffload, {{0, 0}});
  auto const second = plan(storage, Direction::kOffload, {{1, 1}});
  backend.start(first);
  backend.start(second);
  CHECK_THROWS(ContractError, backend.start(plan(storage, Direction::kOffload, {{2, 2}})));
  finish(backend, *first);
  run(backend, plan(storage, Direction::kOffload, {{2, 2}}));
  finish(backend, *second);
  storage.expect_offload({{0, 0}, {1, 1}, {2, 2}});
  CHECK(storage.is_as_expected());
}

TEST(the_destructor_waits_for_what_was_started) {
  cuda_emulation::reset({.order = Order::kLazy});
  Storage storage(small_planes(), 5, 6);
  auto const job = plan(storage, Direction::kOffload, some_pairs());
  {
    CudaBackend backend(layout_of(storage), slots_of(storage), small_options());
    backend.start(job);
  }
  storage.expect_offload(some_pairs());
  CHECK(storage.is_as_expected());
}

TEST(slots_in_ordinary_memory_are_page_locked_while_the_backend_lives) {
  cuda_emulation::reset({.seed = 5});
  Storage const storage({{64, 64}}, 5, 6);
  std::vector<std::byte> memory(6 * 64);
  cuda_emulation::Alive const before = cuda_emulation::alive();
  {
    CudaBackend backend(layout_of(storage), {memory.data(), 64, 6}, small_options());
    std::vector<BlockPair> const pairs = {{BlockId{3}, SlotId{2}}};
    auto job = plan_copy(Direction::kOffload, layout_of(storage), {memory.data(), 64, 6}, pairs, {});
    job->state = CopyState::kRunning;
    run(backend, job);
    for (std::size_t i = 0; i < 64; ++i) CHECK_EQUAL(memory[2 * 64 + i], pattern(1, 3 * 64 + i));
  }
  CHECK(cuda_emulation::alive() == before);
}

TEST(options_that_can_not_work_are_refused_and_leave_nothing) {
  cuda_emulation::reset({});
  Storage const storage(small_planes(), 5, 6);
  cuda_emulation::Alive const before = cuda_emulation::alive();
  auto const refused = [&](auto change) {
    KVLayout const layout = layout_of(storage);
    std::vector<Plane> planes(layout.planes().begin(), layout.planes().end());
    HostSlots slots = slots_of(storage);
    CudaBackend::Options options = small_options();
    change(planes, slots, options);
    CHECK_THROWS(ContractError, CudaBackend(KVLayout(std::move(planes), 5), slots, std::move(options)));
    CHECK(cuda_emulation::alive() == before);
  };
  refused([](auto&, auto& slots, auto&) { slots.base = nullptr; });
  refused([](auto&, auto& slots, auto&) { slots.num_slots = 0; });
  refused([](auto&, auto& slots, auto&) { slots.num_slots = 7; });  // behind the end of the page-locked memory
  refused([](auto&, auto& slots, auto&) { slots.stride_bytes -= 16; });
  refused([&](auto&, auto& slots, auto&) { slots.base = storage.plane(0); });
  refused([&](auto& planes, auto&, auto&) { planes[0].base = storage.slots(); });
  refused([](auto&, auto&, auto& options) { options.max_started = 0; });
  refused([](auto&, auto&, auto& options) { options.num_ctas = 0; });
  refused([](auto&, auto&, auto& options) { options.calibration = favouring(CopyPath::kLoop, 12080); });  // of another driver
}

TEST(without_a_device_everything_says_so) {
  cuda_emulation::reset({});
  std::vector<std::byte> memory(64);
  KVLayout const layout({{memory.data(), 64, 64, 0}}, 1);
  cuda_emulation::reset({.num_devices = 0});
  CHECK(!find_device());
  CHECK_THROWS(DeviceError, CudaBackend(layout, {memory.data(), 64, 1}, small_options()));
  cuda_emulation::reset({});
  cuda_emulation::inject("cudaGetDeviceCount", 1, cudaErrorInsufficientDriver);
  CHECK(!find_device());
}

}  // namespace
}  // namespace residentkv::cuda
