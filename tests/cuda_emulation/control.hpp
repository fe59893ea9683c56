#pragma once
// What a test says to the emulated device: start afresh, fail a call, count what is alive. See README.md.
//
// Thread safety: call these from the test's own thread, with no other thread inside the runtime.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace cuda_emulation {

// Which legal order the fiber mode executes streams in. Thread mode ignores it: the operating system decides.
enum class Order {
  kRandom,  // any ready operation of any stream, a piece at a time, from the seed
  kLazy,    // only what the host waits for and what that waits for in turn: everything else stays undone as long as it may
};

struct Options {
  std::uint64_t seed = 0;
  Order order = Order::kRandom;
  int num_devices = 1;
  int driver_version = 13000;   // as cudaDriverGetVersion gives it: 1000 * major + 10 * minor
  int runtime_version = 13000;  // as cudaRuntimeGetVersion gives it
};

// Forgets faults and counts and seeds the order.  REQUIRES: nothing is alive (streams, events, allocations): aborts otherwise.
void reset(Options const& options);

enum class Lasting {
  kOnce,     // the n-th call fails, later ones work: an allocation refused, a bad argument
  kFromNow,  // that call and every later one of any function that reports errors: a sticky error, the device is lost
};

// The `nth` call of `function` from now (1 = the next one) does nothing and returns `error`. The functions that destroy or free report
// it and release all the same, as CUDA's do with errors of earlier work.
void inject(std::string const& function, std::uint64_t nth, cudaError_t error, Lasting lasting = Lasting::kOnce);
void clear_faults();
[[nodiscard]] bool has_fired();  // an injected fault was met since clear_faults() or reset()

// Calls of each function since reset().
[[nodiscard]] std::map<std::string, std::uint64_t> const& calls();

struct Alive {
  std::size_t streams, events, device_allocations, host_allocations;
  bool operator==(Alive const&) const = default;
};
[[nodiscard]] Alive alive();

// Operations enqueued and not yet executed, of all streams. Fiber mode only.
[[nodiscard]] std::size_t num_pending();

// Aborts when a byte of the guard zone before or after any allocation has changed. Freeing checks the allocation's own.
void check_guards();

// Runs everything enqueued so far. Like cudaDeviceSynchronize, but neither counted nor failed by inject().
void drain();

}  // namespace cuda_emulation
