#pragma once
// What can be enqueued on an emulated stream. An operation runs in steps, so that operations of other streams can come between them.
#include <cuda_runtime.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace cuda_emulation {

// splitmix64 (Steele, Lea, Flood 2014): the same numbers from the same seed with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(next() % bound); }
  template <typename T>
  void shuffle(std::vector<T>& values) {
    for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
  }

 private:
  std::uint64_t state_;
};

// The point a recorded event stands for.
struct Completion {
  std::atomic<bool> is_done{false};
  std::uint64_t time_ns = 0;        // written before is_done
  cudaStream_t recorder = nullptr;  // the stream that will do it
};

// One contiguous copy; a fill has no source.
struct Transfer {
  std::byte* target;
  std::byte const* source;
  std::size_t count;
};

class Operation {
 public:
  virtual ~Operation() = default;
  // What it has to wait for, or nullptr when it can run now.
  [[nodiscard]] virtual Completion const* waits_for() const { return nullptr; }
  // Does a part; true when that was the last. `now_ns` is the stream's clock and moves on by what the part costs.
  virtual bool step(Random& random, std::uint64_t& now_ns) = 0;
  // True for work of the device, false for callbacks into the host.
  [[nodiscard]] virtual bool is_device_work() const { return true; }
  // Whether it will touch a byte of [begin, end). A kernel answers no: nobody can know.
  [[nodiscard]] virtual bool touches(void const* /*begin*/, void const* /*end*/) const { return false; }
};

using OperationPtr = std::unique_ptr<Operation>;

OperationPtr make_copies(std::vector<Transfer> transfers, bool is_ordered);
OperationPtr make_fill(std::byte* target, int value, std::size_t count);
OperationPtr make_kernel(cudaLaunchConfig_t const& config, std::function<void()> thread);
OperationPtr make_host_call(cudaHostFn_t function, void* user_data);
OperationPtr make_record(std::shared_ptr<Completion> completion);
OperationPtr make_wait(std::shared_ptr<Completion> completion);

// Runs all threads of one block. Defined by the mode (block_fibers.cpp, block_threads.cpp).
void run_block(cudaLaunchConfig_t const& config, std::function<void()> const& thread, uint3 block, Random& random);

// True while a cudaLaunchHostFunc callback runs on this thread: it may not call the runtime.
extern thread_local bool is_inside_host_call;

}  // namespace cuda_emulation
