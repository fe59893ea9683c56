// Thread mode: a CUDA thread is a thread of the operating system, so that ThreadSanitizer sees what is not ordered between them.
#include <pthread.h>

#include <memory>
#include <thread>
#include <vector>

#include "operation.hpp"

thread_local uint3 threadIdx;
thread_local uint3 blockIdx;
thread_local dim3 blockDim;
thread_local dim3 gridDim;

namespace cuda_emulation {

namespace {

constexpr std::size_t kMaxThreads = 256;
constexpr std::byte kUnwritten{0xA5};

class Barrier {
 public:
  explicit Barrier(unsigned int count) { pthread_barrier_init(&barrier_, nullptr, count); }
  ~Barrier() { pthread_barrier_destroy(&barrier_); }
  Barrier(Barrier const&) = delete;
  Barrier& operator=(Barrier const&) = delete;
  void wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

struct Warp {
  Barrier barrier{32};
  unsigned long long values[32] = {};
};

struct Block {
  explicit Block(cudaLaunchConfig_t const& config) : barrier(config.blockDim.x), shared(config.dynamicSmemBytes + 128, kUnwritten) {
    for (unsigned i = 0; i < config.blockDim.x / 32; ++i) warps.push_back(std::make_unique<Warp>());
  }
  Barrier barrier;
  std::vector<std::unique_ptr<Warp>> warps;
  std::vector<std::byte> shared;
};

thread_local Block* block = nullptr;

}  // namespace

void run_block(cudaLaunchConfig_t const& config, std::function<void()> const& thread, uint3 index, Random&) {
  if (config.blockDim.y != 1 || config.blockDim.z != 1 || config.blockDim.x > kMaxThreads) {
    refuse("thread mode runs blocks of one row of at most 256 threads");
  }
  Block running(config);
  std::vector<std::thread> threads;
  for (unsigned x = 0; x < config.blockDim.x; ++x) {
    threads.emplace_back([&, x] {
      block = &running;
      threadIdx = {x, 0, 0};
      blockIdx = index;
      blockDim = config.blockDim;
      gridDim = config.gridDim;
      thread();
    });
  }
  for (std::thread& each : threads) each.join();
}

void* dynamic_shared() {
  auto const address = reinterpret_cast<std::size_t>(block->shared.data());
  return block->shared.data() + (128 - address % 128) % 128;
}

unsigned long long exchange(unsigned int mask, unsigned long long value, unsigned int source) {
  if (mask != 0xffffffffU || blockDim.x % 32 != 0) refuse("a warp exchange of less than 32 lanes, or in a block of partial warps");
  Warp& warp = *block->warps[threadIdx.x / 32];
  warp.values[threadIdx.x % 32] = value;
  warp.barrier.wait();
  unsigned long long const received = warp.values[source];
  warp.barrier.wait();  // nobody overwrites a value before all have read
  return received;
}

void arrive_at_block_barrier() { block->barrier.wait(); }

}  // namespace cuda_emulation

void __syncthreads() { ::cuda_emulation::arrive_at_block_barrier(); }
