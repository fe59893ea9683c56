// Fiber mode: a CUDA thread is a fiber of this thread, resumed in a seeded order from barrier to barrier.
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "operation.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

thread_local uint3 threadIdx;
thread_local uint3 blockIdx;
thread_local dim3 blockDim;
thread_local dim3 gridDim;

namespace cuda_emulation {

namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
constexpr std::byte kUnwritten{0xA5};  // shared memory starts as nobody's data, and not as zeros

enum class At { kRunnable, kBarrier, kExchange, kEnd };

struct Fiber {
  ucontext_t context;
  std::byte* stack = nullptr;
  uint3 index;
  At at = At::kRunnable;
  unsigned long long value = 0;  // what it contributes to an exchange, then what it receives
  unsigned int source = 0;
};

struct Block {
  ucontext_t scheduler;
  void* scheduler_fake_stack = nullptr;
  void const* scheduler_stack = nullptr;
  std::size_t scheduler_stack_bytes = 0;
  std::vector<Fiber> fibers;
  std::vector<std::byte> shared;
  std::byte* shared_begin = nullptr;
  Fiber* current = nullptr;
  std::function<void()> const* thread = nullptr;
};

thread_local Block* block = nullptr;

// Stacks are kept from launch to launch.
struct Stacks {
  std::vector<std::byte*> all;
  std::byte* get(std::size_t i) {
    while (all.size() <= i) {
      void* const mapped = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (mapped == MAP_FAILED) refuse("no memory for the stack of a CUDA thread");
      all.push_back(static_cast<std::byte*>(mapped));
    }
    return all[i];
  }
  ~Stacks() {
    for (std::byte* stack : all) munmap(stack, kStackBytes);
  }
};
thread_local Stacks stacks;

void start_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] void const* stack, [[maybe_unused]] std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, stack, size);
#endif
}

void finish_switch([[maybe_unused]] void* fake_stack, [[maybe_unused]] void const** stack, [[maybe_unused]] std::size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, stack, size);
#endif
}

void resume(Fiber& fiber) {
  block->current = &fiber;
  threadIdx = fiber.index;
  start_switch(&block->scheduler_fake_stack, fiber.stack, kStackBytes);
  swapcontext(&block->scheduler, &fiber.context);
  finish_switch(block->scheduler_fake_stack, nullptr, nullptr);
}

// Back to the scheduler until it resumes this fiber.
void pause(At at) {
  Fiber& fiber = *block->current;
  fiber.at = at;
  void* fake_stack = nullptr;
  start_switch(&fake_stack, block->scheduler_stack, block->scheduler_stack_bytes);
  swapcontext(&fiber.context, &block->scheduler);
  finish_switch(fake_stack, &block->scheduler_stack, &block->scheduler_stack_bytes);
}

void enter() {
  finish_switch(nullptr, &block->scheduler_stack, &block->scheduler_stack_bytes);
  (*block->thread)();
  Fiber& fiber = *block->current;
  fiber.at = At::kEnd;
  start_switch(nullptr, block->scheduler_stack, block->scheduler_stack_bytes);  // nullptr: this fiber does not come back
  swapcontext(&fiber.context, &block->scheduler);
}

void prepare(Fiber& fiber, uint3 index, std::byte* stack) {
  fiber.index = index;
  fiber.stack = stack;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &enter, 0);
}

// Hands the values of warps that arrived completely to their lanes; true when there was one.
bool exchange_values() {
  bool any = false;
  for (std::size_t first = 0; first < block->fibers.size(); first += 32) {
    std::size_t const end = std::min(first + 32, block->fibers.size());
    bool arrived = true;
    for (std::size_t i = first; i < end; ++i) arrived = arrived && block->fibers[i].at == At::kExchange;
    if (!arrived) continue;
    unsigned long long values[32] = {};
    for (std::size_t i = first; i < end; ++i) values[i - first] = block->fibers[i].value;
    for (std::size_t i = first; i < end; ++i) {
      Fiber& fiber = block->fibers[i];
      fiber.value = values[fiber.source];
      fiber.at = At::kRunnable;
    }
    any = true;
  }
  return any;
}

bool all_at(At at) {
  return std::all_of(block->fibers.begin(), block->fibers.end(), [&](Fiber const& fiber) { return fiber.at == at; });
}

void run_to_the_end(Random& random) {
  std::vector<std::size_t> order(block->fibers.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  while (!all_at(At::kEnd)) {
    random.shuffle(order);
    for (std::size_t i : order) {
      if (block->fibers[i].at == At::kRunnable) resume(block->fibers[i]);
    }
    if (exchange_values()) continue;
    if (all_at(At::kBarrier)) {
      for (Fiber& fiber : block->fibers) fiber.at = At::kRunnable;
    } else if (!all_at(At::kEnd)) {
      refuse("divergent threads: a __syncthreads() or a warp's exchange that not all of them reach");
    }
  }
}

}  // namespace

void run_block(cudaLaunchConfig_t const& config, std::function<void()> const& thread, uint3 index, Random& random) {
  // The 128 bytes behind the shared memory are not the kernel's.
  Block running{};
  running.thread = &thread;
  running.shared.assign(config.dynamicSmemBytes + 256, kUnwritten);
  auto const address = reinterpret_cast<std::size_t>(running.shared.data());
  running.shared_begin = running.shared.data() + (128 - address % 128) % 128;
  std::byte* const behind = running.shared_begin + config.dynamicSmemBytes;
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(behind, 128);
#endif
  block = &running;
  blockIdx = index;
  blockDim = config.blockDim;
  gridDim = config.gridDim;
  running.fibers.resize(std::size_t{config.blockDim.x} * config.blockDim.y * config.blockDim.z);
  std::size_t i = 0;
  for (unsigned z = 0; z < config.blockDim.z; ++z) {
    for (unsigned y = 0; y < config.blockDim.y; ++y) {
      for (unsigned x = 0; x < config.blockDim.x; ++x, ++i) prepare(running.fibers[i], {x, y, z}, stacks.get(i));
    }
  }
  run_to_the_end(random);
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(behind, 128);
#endif
  if (std::any_of(behind, behind + 128, [](std::byte b) { return b != kUnwritten; })) {
    refuse("bytes behind the dynamic shared memory were overwritten");
  }
  block = nullptr;
}

void* dynamic_shared() { return block->shared_begin; }

unsigned long long exchange(unsigned int mask, unsigned long long value, unsigned int source) {
  if (mask != 0xffffffffU || block->fibers.size() % 32 != 0 || blockDim.y != 1 || blockDim.z != 1) {
    refuse("a warp exchange of less than 32 lanes, or in a block that is not a row of full warps");
  }
  block->current->value = value;
  block->current->source = source;
  pause(At::kExchange);
  return block->current->value;
}

}  // namespace cuda_emulation

void __syncthreads() { ::cuda_emulation::pause(::cuda_emulation::At::kBarrier); }
