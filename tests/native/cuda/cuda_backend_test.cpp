#include "cuda/cuda_backend.hpp"

#include "core/check.hpp"
#include "cuda/backend_scene.hpp"

namespace residentkv::cuda {
namespace {

using namespace residentkv::testing;
using cuda_emulation::Order;

std::vector<BlockToSlot> some_pairs() { return {{4, 0}, {0, 5}, {2, 3}}; }
std::vector<BlockToSlot> other_pairs() { return {{1, 3}, {3, 0}}; }

void round_trip(Storage& storage, CudaBackend::Options options) {
  CudaBackend backend(std::move(options));
  Outcome const left = offload(backend, some_pairs());
  storage.expect_offload(some_pairs());
  CHECK(storage.is_as_expected());
  CHECK_EQUAL(left.status, CopyStatus::kDone);
  CHECK(left.checksums == wanted_checksums(storage, some_pairs()));

  std::vector<KernelPair> const pairs = kernel_pairs(other_pairs());
  std::vector<std::uint32_t> const expected = wanted_checksums(storage, other_pairs());
  CopyTicket const ticket = *backend.submit({Direction::kRestore, pairs, expected, nullptr});
  while (!backend.poll(ticket).is_finished) {
  }
  CHECK_EQUAL(backend.poll(ticket).num_stages_done, backend.num_stages(Direction::kRestore));
  storage.expect_restore(other_pairs());
  CHECK(storage.is_as_expected());
  CHECK_EQUAL(backend.take(ticket).status, CopyStatus::kDone);
  CHECK_EQUAL(backend.num_open(), std::size_t{0});
}

TEST(every_path_moves_the_same_bytes_and_touches_no_other) {
  for (CopyPath path : kCopyPaths) {
    for (Order order : {Order::kLazy, Order::kRandom}) {
      cuda_emulation::reset({.seed = 1 + index_of(path), .order = order});
      Storage storage(small_planes(), 5, 6);
      CudaBackend::Options options = backend_options(storage);
      options.calibration = favouring(path);
      round_trip(storage, options);
    }
  }
}

TEST(without_a_table_the_path_follows_size_and_what_is_there) {
  cuda_emulation::reset({});
  Storage const storage({{1 << 16, 1 << 16}, {64, 64}}, 2, 2);
  CudaBackend const backend(backend_options(storage));
  CHECK_EQUAL(backend.path_for(Direction::kOffload, {0, 1}, 1), CopyPath::kBatch);
  CHECK_EQUAL(backend.path_for(Direction::kOffload, {1, 2}, 1), CopyPath::kKernel);
}

TEST(unaligned_storage_and_an_old_driver_leave_the_loop) {
  cuda_emulation::reset({.driver_version = 12040});
  Storage storage({{40, 24}, {8, 8}}, 5, 6);
  CudaBackend::Options options = backend_options(storage);
  {
    CudaBackend const backend(options);
    CHECK(backend.usable_paths().has(CopyPath::kLoop));
    CHECK(!backend.usable_paths().has(CopyPath::kBatch) && !backend.usable_paths().has(CopyPath::kKernel));
  }
  options.calibration = favouring(CopyPath::kBatch, 12040);  // not usable here: the table's next best is
  round_trip(storage, options);
}

TEST(runs_that_continue_each_other_are_one_copy) {
  cuda_emulation::reset({});
  Storage storage({{64, 64}}, 5, 6);
  CudaBackend::Options options = backend_options(storage);
  options.calibration = favouring(CopyPath::kLoop);
  CudaBackend backend(options);
  std::uint64_t const before = cuda_emulation::calls().at("cudaMemcpyAsync");
  std::vector<BlockToSlot> const pairs = {{1, 2}, {2, 3}, {3, 4}, {0, 0}};
  static_cast<void>(offload(backend, pairs));
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
    CudaBackend backend(backend_options(storage));
    TestStream model;
    TestEvent written;
    check_success(cudaMemcpyAsync(storage.plane(0), fresh.data(), 64, cudaMemcpyHostToDevice, model));
    check_success(cudaEventRecord(written, model));
    std::vector<KernelPair> const pairs = {{0, 2}};
    CopyTicket const ticket = *backend.submit({Direction::kOffload, pairs, {}, written});
    Outcome const outcome = finish(backend, ticket);
    CHECK(std::equal(fresh.data(), fresh.data() + 64, storage.slots() + 2 * 64));
    CHECK_EQUAL(outcome.checksums.front(), checksum_of(fresh.data(), 64));
    check_success(cudaStreamSynchronize(model));
  }
}

TEST(a_consumer_that_waits_for_a_layer_finds_it_in_place) {
  cuda_emulation::reset({.order = Order::kLazy});
  Storage storage(small_planes(), 5, 6);
  CudaBackend::Options options = backend_options(storage);
  options.calibration = favouring(CopyPath::kStaged);
  CudaBackend backend(options);
  std::vector<KernelPair> const pairs = {{2, 4}};
  std::vector<std::uint32_t> const expected = wanted_checksums(storage, {{2, 4}});
  CopyTicket const ticket = *backend.submit({Direction::kRestore, pairs, expected, nullptr});
  TestStream model;
  PlaneShape const& shape = storage.shape(0);
  HostBytes seen(shape.run_bytes);
  backend.make_wait(ticket, 0, model);
  check_success(cudaMemcpyAsync(seen.data(), storage.plane(0) + 2 * shape.stride_bytes, shape.run_bytes, cudaMemcpyDeviceToHost, model));
  check_success(cudaStreamSynchronize(model));
  CHECK(std::equal(seen.data(), seen.data() + shape.run_bytes, storage.slots() + 4 * storage.block_bytes()));
  CHECK_THROWS(ContractError, backend.make_wait(ticket, 2, model));
  CHECK_EQUAL(finish(backend, ticket).status, CopyStatus::kDone);
}

TEST(a_ticket_ends_when_its_bytes_have_landed_and_not_before) {
  cuda_emulation::reset({.order = Order::kLazy});
  Storage storage(small_planes(), 5, 6);
  CudaBackend backend(backend_options(storage));
  std::vector<KernelPair> const out = kernel_pairs(some_pairs());
  CopyTicket const leaving = *backend.submit({Direction::kOffload, out, {}, nullptr});
  backend.wait(leaving);
  storage.expect_offload(some_pairs());
  CHECK(backend.take(leaving).checksums == wanted_checksums(storage, some_pairs()));
  CHECK(storage.is_as_expected());
  std::vector<KernelPair> const back = kernel_pairs(other_pairs());
  std::vector<std::uint32_t> const expected = wanted_checksums(storage, other_pairs());
  CopyTicket const coming = *backend.submit({Direction::kRestore, back, expected, nullptr});
  backend.wait(coming);
  storage.expect_restore(other_pairs());
  CHECK(storage.is_as_expected());
}

TEST(a_slot_that_changed_at_rest_is_named_and_the_others_are_not) {
  cuda_emulation::reset({.seed = 9});
  Storage storage(small_planes(), 5, 6);
  CudaBackend backend(backend_options(storage));
  std::vector<std::uint32_t> const expected = offload(backend, some_pairs()).checksums;
  storage.expect_offload(some_pairs());
  storage.spoil_slot(5, storage.block_bytes() - 1);
  std::vector<KernelPair> const pairs = kernel_pairs(some_pairs());
  Outcome const outcome = finish(backend, *backend.submit({Direction::kRestore, pairs, expected, nullptr}));
  CHECK_EQUAL(outcome.status, CopyStatus::kFailed);
  CHECK(outcome.failed_pairs == std::vector<std::uint32_t>{1});
  CHECK(outcome.error.empty());
}

TEST(a_full_backend_answers_busy_and_a_cancelled_ticket_stays_open_until_its_copies_end) {
  cuda_emulation::reset({.order = Order::kLazy});
  Storage storage(small_planes(), 5, 6);
  CudaBackend backend(backend_options(storage));
  std::vector<KernelPair> const first = {{0, 0}}, second = {{1, 1}}, third = {{2, 2}};
  CopyTicket const one = *backend.submit({Direction::kOffload, first, {}, nullptr});
  CopyTicket const two = *backend.submit({Direction::kOffload, second, {}, nullptr});
  CHECK(!backend.submit({Direction::kOffload, third, {}, nullptr}));
  backend.cancel(one);
  CHECK(!backend.submit({Direction::kOffload, third, {}, nullptr}));
  CHECK_EQUAL(finish(backend, one).status, CopyStatus::kCancelled);
  CHECK(backend.submit({Direction::kOffload, third, {}, nullptr}).has_value());
  CHECK_EQUAL(finish(backend, two).status, CopyStatus::kDone);
  CHECK_THROWS(ContractError, backend.poll(two));
  storage.expect_offload({{0, 0}, {1, 1}, {2, 2}});
}

TEST(the_destructor_waits_for_what_was_submitted) {
  cuda_emulation::reset({.order = Order::kLazy});
  Storage storage(small_planes(), 5, 6);
  std::vector<KernelPair> const pairs = kernel_pairs(some_pairs());
  {
    CudaBackend backend(backend_options(storage));
    CHECK(backend.submit({Direction::kOffload, pairs, {}, nullptr}).has_value());
  }
  storage.expect_offload(some_pairs());
  CHECK(storage.is_as_expected());
}

TEST(a_submission_that_breaks_the_contract_changes_nothing) {
  cuda_emulation::reset({});
  Storage const storage(small_planes(), 5, 6);
  CudaBackend backend(backend_options(storage));
  auto const refused = [&](Direction direction, std::vector<KernelPair> pairs, std::vector<std::uint32_t> expected) {
    CHECK_THROWS(ContractError, backend.submit({direction, pairs, expected, nullptr}));
  };
  refused(Direction::kOffload, {}, {});
  refused(Direction::kOffload, {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}}, {});  // more than max_pairs_per_ticket
  refused(Direction::kOffload, {{5, 0}}, {});
  refused(Direction::kOffload, {{0, 6}}, {});
  refused(Direction::kOffload, {{0, 0}, {0, 1}}, {});
  refused(Direction::kOffload, {{0, 1}, {1, 1}}, {});
  refused(Direction::kOffload, {{0, 0}}, {1});
  refused(Direction::kRestore, {{0, 0}}, {});
  CHECK_THROWS(ContractError, backend.take(CopyTicket{1}));
  CHECK_EQUAL(backend.num_open(), std::size_t{0});
  CHECK(storage.is_as_expected());
}

TEST(options_that_can_not_work_are_refused_and_leave_nothing) {
  cuda_emulation::reset({});
  Storage const storage(small_planes(), 5, 6);
  cuda_emulation::Alive const before = cuda_emulation::alive();
  auto const refused = [&](auto change) {
    CudaBackend::Options options = backend_options(storage);
    change(options);
    CHECK_THROWS(ContractError, CudaBackend(std::move(options)));
    CHECK(cuda_emulation::alive() == before);
  };
  std::vector<std::byte> pageable(storage.block_bytes() * 6);
  refused([](auto& o) { o.geometry.planes.clear(); });
  refused([](auto& o) { o.geometry.planes[1].base = nullptr; });
  refused([](auto& o) { o.geometry.planes[1].run_bytes = 0; });
  refused([](auto& o) { o.geometry.planes[1].run_bytes = o.geometry.planes[1].stride_bytes + 1; });
  refused([](auto& o) { o.geometry.layer_ends = {}; });
  refused([](auto& o) { o.geometry.layer_ends = {0, 3}; });
  refused([](auto& o) { o.geometry.layer_ends = {2, 2, 3}; });
  refused([](auto& o) { o.geometry.layer_ends = {1, 2}; });
  refused([](auto& o) { o.geometry.num_blocks = 0; });
  refused([](auto& o) { o.geometry.num_slots = 7; });  // behind the end of the page-locked memory
  refused([&](auto& o) { o.geometry.slots = pageable.data(); });
  refused([&](auto& o) { o.geometry.planes[0].base = storage.slots(); });
  refused([](auto& o) { o.checksum = nullptr; });
  refused([](auto& o) { o.max_tickets = 0; });
  refused([](auto& o) { o.calibration = favouring(CopyPath::kLoop, 12080); });  // of another driver
}

TEST(without_a_device_everything_says_so) {
  Storage* storage = nullptr;
  cuda_emulation::reset({});
  storage = new Storage(small_planes(), 5, 6);
  CudaBackend::Options const options = backend_options(*storage);
  delete storage;
  cuda_emulation::reset({.num_devices = 0});
  CHECK(!find_device());
  CHECK_THROWS(DeviceError, CudaBackend(options));
  cuda_emulation::reset({});
  cuda_emulation::inject("cudaGetDeviceCount", 1, cudaErrorInsufficientDriver);
  CHECK(!find_device());
}

}  // namespace
}  // namespace residentkv::cuda
