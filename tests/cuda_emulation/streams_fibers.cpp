// Fiber mode: everything on the thread that waits, one piece at a time.
#include <algorithm>
#include <deque>
#include <vector>

#include "memory.hpp"
#include "streams.hpp"

struct CUstream_st {
  std::deque<cuda_emulation::OperationPtr> operations;
  std::uint64_t now_ns = 0;
  bool is_destroyed = false;
  bool is_busy() const { return !operations.empty(); }
  bool is_ready() const { return is_busy() && operations.front()->waits_for() == nullptr; }
};

namespace cuda_emulation {

struct Streams::State {
  std::vector<std::unique_ptr<CUstream_st>> streams;
  Random random{0};
  Order order = Order::kRandom;

  void step(CUstream_st& stream) {
    Operation& operation = *stream.operations.front();
    bool is_last = false;
    if (operation.is_device_work()) {
      DeviceAccess const access;
      is_last = operation.step(random, stream.now_ns);
    } else {
      is_last = operation.step(random, stream.now_ns);
    }
    if (is_last) stream.operations.pop_front();
    std::erase_if(streams, [](auto const& each) { return each->is_destroyed && !each->is_busy(); });
  }

  // One step of a ready stream; false when there is none. In the lazy order, of `wanted` or of what that waits for.
  bool advance(CUstream_st* wanted) {
    if (order == Order::kLazy && wanted != nullptr) {
      while (wanted->is_busy() && !wanted->is_ready()) wanted = wanted->operations.front()->waits_for()->recorder;
      if (!wanted->is_busy()) return false;
      step(*wanted);
      return true;
    }
    std::vector<CUstream_st*> ready;
    for (auto const& stream : streams) {
      if (stream->is_ready()) ready.push_back(stream.get());
    }
    if (ready.empty()) return false;
    step(*ready[random.below(ready.size())]);
    return true;
  }

  template <typename Done>
  void run_until(Done is_done, CUstream_st* wanted) {
    while (!is_done()) {
      if (!advance(wanted)) refuse("the host waits for something that no stream will ever do");
    }
  }

  // The device's moment between two queries; in the lazy order, of the stream that is asked about.
  void run_a_little(CUstream_st* asked) {
    for (std::size_t i = random.below(8); i > 0; --i) {
      if (!advance(asked)) return;
    }
  }
};

Streams::Streams() : state_(std::make_unique<State>()) {}
Streams::~Streams() = default;

void Streams::reset(Options const& options) {
  state_->random = Random(options.seed);
  state_->order = options.order;
}

cudaStream_t Streams::create() { return state_->streams.emplace_back(std::make_unique<CUstream_st>()).get(); }

bool Streams::has(cudaStream_t stream) const {
  return std::any_of(state_->streams.begin(), state_->streams.end(),
                     [&](auto const& each) { return each.get() == stream && !each->is_destroyed; });
}

void Streams::destroy(cudaStream_t stream) {
  stream->is_destroyed = true;
  std::erase_if(state_->streams, [](auto const& each) { return each->is_destroyed && !each->is_busy(); });
}

void Streams::enqueue(cudaStream_t stream, OperationPtr operation) { stream->operations.push_back(std::move(operation)); }

void Streams::finish(cudaStream_t stream) {
  state_->run_until([&] { return !stream->is_busy(); }, stream);
}

void Streams::finish(std::shared_ptr<Completion> const& completion) {
  state_->run_until([&] { return completion->is_done.load(); }, completion->recorder);
}

void Streams::drain() {
  state_->run_until([&] { return num_pending() == 0; }, nullptr);
}

bool Streams::is_idle(cudaStream_t stream) {
  state_->run_a_little(stream);
  return !stream->is_busy();
}

bool Streams::is_done(std::shared_ptr<Completion> const& completion) {
  if (!completion->is_done.load()) state_->run_a_little(completion->recorder);
  return completion->is_done.load();
}

void Streams::abandon() {
  for (auto const& stream : state_->streams) stream->operations.clear();
  std::erase_if(state_->streams, [](auto const& each) { return each->is_destroyed; });
}

std::size_t Streams::num_streams() const {
  return static_cast<std::size_t>(
      std::count_if(state_->streams.begin(), state_->streams.end(), [](auto const& each) { return !each->is_destroyed; }));
}

std::size_t Streams::num_pending() const {
  std::size_t total = 0;
  for (auto const& stream : state_->streams) total += stream->operations.size();
  return total;
}

bool Streams::touches(void const* begin, void const* end) const {
  for (auto const& stream : state_->streams) {
    for (OperationPtr const& operation : stream->operations) {
      if (operation->touches(begin, end)) return true;
    }
  }
  return false;
}

}  // namespace cuda_emulation
