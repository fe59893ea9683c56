// The emulation itself: what it models, and that it refuses what it does not.
#include <cuda_runtime.h>

#include <numeric>

#include "cuda/device_fixture.hpp"

namespace residentkv::testing {
namespace {

using cuda_emulation::Lasting;
using cuda_emulation::Order;

std::vector<std::byte> bytes(std::size_t count, std::uint64_t seed) {
  std::vector<std::byte> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = pattern(seed, i);
  return all;
}

// Sums a block's numbers with every kind of cooperation there is.
__global__ void sum_kernel(std::uint32_t const* numbers, std::uint64_t* total) {
  CUDA_DYNAMIC_SHARED(std::uint32_t, staged);
  __shared__ std::uint64_t warp_sums[8];
  staged[threadIdx.x] = numbers[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  std::uint64_t value = staged[blockDim.x - 1 - threadIdx.x];
  for (unsigned int delta = 16; delta > 0; delta /= 2) value += __shfl_down_sync(0xffffffffU, value, delta);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned int warp = 1; warp < blockDim.x / 32; ++warp) value += warp_sums[warp];
  atomicAdd(total, value);
}

cudaLaunchConfig_t config_for(unsigned int num_blocks, unsigned int num_threads, std::size_t shared_bytes, cudaStream_t stream) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(num_blocks);
  config.blockDim = dim3(num_threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return config;
}

TEST(a_grid_with_shared_memory_barriers_shuffles_and_atomics_adds_up) {
  cuda_emulation::reset({.seed = 3});
  HostBytes numbers(2 * 64 * 4);
  HostBytes total(8);
  auto* const values = reinterpret_cast<std::uint32_t*>(numbers.data());
  std::iota(values, values + 128, 1U);
  *reinterpret_cast<std::uint64_t*>(total.data()) = 0;
  TestStream stream;
  auto const config = config_for(2, 64, 64 * 4, stream);
  check_success(cudaLaunchKernelEx(&config, &sum_kernel, values, reinterpret_cast<std::uint64_t*>(total.data())));
  check_success(cudaStreamSynchronize(stream));
  CHECK_EQUAL(*reinterpret_cast<std::uint64_t*>(total.data()), std::uint64_t{128 * 129 / 2});
}

TEST(a_stream_waits_for_an_event_of_another) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    cuda_emulation::reset({.seed = seed, .order = seed % 2 == 0 ? Order::kLazy : Order::kRandom});
    HostBytes first(4096), second(4096);
    DeviceBytes device(bytes(4096, 0));
    std::vector<std::byte> const wanted = bytes(4096, seed + 1);
    std::copy(wanted.begin(), wanted.end(), first.data());
    TestStream writer, reader;
    TestEvent written;
    check_success(cudaMemcpyAsync(device.data(), first.data(), 4096, cudaMemcpyHostToDevice, writer));
    check_success(cudaEventRecord(written, writer));
    check_success(cudaStreamWaitEvent(reader, written, 0));
    check_success(cudaMemcpyAsync(second.data(), device.data(), 4096, cudaMemcpyDeviceToHost, reader));
    check_success(cudaStreamSynchronize(reader));
    CHECK(second.read() == wanted);
  }
}

TEST(an_event_stands_for_its_latest_record_when_the_wait_is_enqueued) {
  cuda_emulation::reset({});
  TestStream stream, other;
  TestEvent event;
  check_success(cudaEventQuery(event));  // never recorded: nothing to wait for
  check_success(cudaStreamWaitEvent(stream, event, 0));
  check_success(cudaEventRecord(event, other));
  check_success(cudaStreamSynchronize(stream));
  check_success(cudaEventSynchronize(event));
  check_success(cudaEventQuery(event));
}

TEST(host_functions_run_in_stream_order) {
  cuda_emulation::reset({});
  HostBytes host(8);
  DeviceBytes device(bytes(8, 5));
  struct Seen {
    std::byte const* data;
    std::vector<std::byte> bytes;
  } seen{host.data(), {}};
  TestStream stream;
  check_success(cudaMemcpyAsync(host.data(), device.data(), 8, cudaMemcpyDeviceToHost, stream));
  check_success(cudaLaunchHostFunc(
      stream,
      [](void* data) {
        auto& mine = *static_cast<Seen*>(data);
        mine.bytes.assign(mine.data, mine.data + 8);
      },
      &seen));
  check_success(cudaStreamSynchronize(stream));
  CHECK(seen.bytes == bytes(8, 5));
}

TEST(an_injected_error_is_returned_once_or_from_then_on) {
  cuda_emulation::reset({});
  TestStream stream;
  cuda_emulation::inject("cudaStreamSynchronize", 2, cudaErrorUnknown);
  check_success(cudaStreamSynchronize(stream));
  CHECK_EQUAL(cudaStreamSynchronize(stream), cudaErrorUnknown);
  check_success(cudaStreamSynchronize(stream));
  cuda_emulation::inject("cudaStreamSynchronize", 1, cudaErrorLaunchFailure, Lasting::kFromNow);
  CHECK_EQUAL(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
  cudaEvent_t event = nullptr;
  CHECK_EQUAL(cudaEventCreateWithFlags(&event, 0), cudaErrorLaunchFailure);
  CHECK_EQUAL(cuda_emulation::calls().at("cudaStreamSynchronize"), std::uint64_t{4});
}

TEST(memory_has_an_owner_and_a_kind) {
  cuda_emulation::reset({});
  HostBytes host(100);
  DeviceBytes device(bytes(100, 1));
  cudaPointerAttributes attributes{};
  check_success(cudaPointerGetAttributes(&attributes, host.data() + 99));
  CHECK_EQUAL(attributes.type, cudaMemoryTypeHost);
  check_success(cudaPointerGetAttributes(&attributes, device.data()));
  CHECK_EQUAL(attributes.type, cudaMemoryTypeDevice);
  int on_stack = 0;
  check_success(cudaPointerGetAttributes(&attributes, &on_stack));
  CHECK_EQUAL(attributes.type, cudaMemoryTypeUnregistered);
  CHECK_EQUAL(cudaFree(host.data()), cudaErrorInvalidValue);
  CHECK((cuda_emulation::alive() == cuda_emulation::Alive{0, 0, 1, 1}));
  void* too_much = nullptr;
  CHECK_EQUAL(cudaMalloc(&too_much, std::size_t{1} << 40), cudaErrorMemoryAllocation);
}

#ifndef CUDA_EMULATION_THREADS

TEST(asynchronous_work_is_really_deferred) {
  cuda_emulation::reset({.order = Order::kLazy});
  HostBytes host(64);
  DeviceBytes device(bytes(64, 7));
  TestStream stream;
  check_success(cudaMemcpyAsync(host.data(), device.data(), 64, cudaMemcpyDeviceToHost, stream));
  CHECK_EQUAL(cuda_emulation::num_pending(), std::size_t{1});
  CHECK(host.read() != bytes(64, 7));
  check_success(cudaStreamSynchronize(stream));
  CHECK(host.read() == bytes(64, 7));
}

TEST(a_missing_wait_is_seen) {
  cuda_emulation::reset({.order = Order::kLazy});
  HostBytes first(64), second(64);
  DeviceBytes device(bytes(64, 0));
  TestStream writer, reader;
  check_success(cudaMemcpyAsync(device.data(), first.data(), 64, cudaMemcpyHostToDevice, writer));
  check_success(cudaMemcpyAsync(second.data(), device.data(), 64, cudaMemcpyDeviceToHost, reader));
  check_success(cudaStreamSynchronize(reader));
  CHECK(second.read() == bytes(64, 0));
  check_success(cudaStreamSynchronize(writer));
}

TEST(the_same_seed_gives_the_same_order) {
  auto const run = [](std::uint64_t seed) {
    cuda_emulation::reset({.seed = seed});
    HostBytes order(8 * 4);
    auto* const numbers = reinterpret_cast<std::uint32_t*>(order.data());
    std::fill(numbers, numbers + 8, 0U);
    TestStream stream;
    auto const config = config_for(7, 1, 0, stream);
    void (*const kernel)(std::uint32_t*) = [](std::uint32_t* all) { all[1 + all[0]++] = blockIdx.x; };
    check_success(cudaLaunchKernelEx(&config, kernel, numbers));
    check_success(cudaStreamSynchronize(stream));
    return order.read();
  };
  CHECK(run(1) == run(1));
  CHECK(run(1) != run(2));
}

__global__ void divergent_kernel() {
  if (threadIdx.x != 5) __syncthreads();
}
__global__ void partial_warp_kernel() { __syncwarp(); }
__global__ void overrun_kernel(std::byte* data, std::size_t size) { data[size] = std::byte{0}; }
__global__ void misaligned_kernel(std::byte* data) { __stcs(reinterpret_cast<int4*>(data + 8), int4{}); }

template <typename... Arguments>
std::string words_of_launch(unsigned int num_threads, void (*kernel)(Arguments...), Arguments... arguments) {
  return last_words([&] {
    cudaStream_t stream = nullptr;
    cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, 0);
    auto const config = config_for(1, num_threads, 0, stream);
    cudaLaunchKernelEx(&config, kernel, arguments...);
    cudaStreamSynchronize(stream);
    cuda_emulation::check_guards();
  });
}

TEST(a_kernel_that_breaks_the_rules_is_refused_by_name) {
  cuda_emulation::reset({});
  DeviceBytes device(bytes(64, 0));
  HostBytes host(64);
  CHECK(contains(words_of_launch(32, &divergent_kernel), "divergent threads"));
  CHECK(contains(words_of_launch(31, &partial_warp_kernel), "less than 32 lanes"));
  CHECK(contains(words_of_launch(1, &misaligned_kernel, device.data()), "misaligned"));
  CHECK(contains(words_of_launch(1, &overrun_kernel, device.data(), std::size_t{64}), "died"));
  CHECK(contains(words_of_launch(1, &overrun_kernel, host.data(), std::size_t{64}), "died"));
}

TEST(a_host_that_follows_a_device_pointer_faults) {
  cuda_emulation::reset({});
  DeviceBytes device(bytes(64, 0));
  CHECK(contains(last_words([&] { static_cast<void>(*static_cast<std::byte volatile*>(device.data())); }), "died"));
}

TEST(what_is_not_modelled_is_refused_by_name) {
  cuda_emulation::reset({.driver_version = 12040});
  DeviceBytes device(bytes(64, 0));
  HostBytes host(64);
  TestStream stream;
  std::vector<std::byte> pageable(64);
  auto const copy = [&](void* target, void const* source, std::size_t count, cudaStream_t on) {
    return last_words([&] { cudaMemcpyAsync(target, source, count, cudaMemcpyDefault, on); });
  };
  CHECK(contains(copy(host.data(), device.data(), 64, nullptr), "legacy default stream"));
  CHECK(contains(copy(pageable.data(), device.data(), 64, stream), "pageable"));
  CHECK(contains(copy(host.data(), device.data(), 65, stream), "ends behind"));
  CHECK(contains(last_words([&] {
                   void* target = host.data();
                   void const* source = device.data();
                   std::size_t size = 64;
                   std::size_t first = 0;
                   cudaMemcpyAttributes attributes{};
                   attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
                   cudaMemcpyBatchAsync(&target, &source, &size, 1, &attributes, &first, 1, stream);
                 }),
                 "before CUDA 12.8"));
  CHECK(contains(last_words([&] {
                   cudaLaunchHostFunc(stream, [](void*) { cudaGetDeviceCount(nullptr); }, nullptr);
                   cudaStreamSynchronize(stream);
                 }),
                 "called the runtime"));
  CHECK(contains(last_words([&] {
                   cudaMemcpyAsync(host.data(), device.data(), 64, cudaMemcpyDefault, stream);
                   cudaFreeHost(host.data());
                 }),
                 "freed while"));
  CHECK(contains(last_words([&] { cuda_emulation::reset({}); }), "are alive"));
}

#endif

}  // namespace
}  // namespace residentkv::testing
