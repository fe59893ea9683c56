// Thread mode: a stream is a thread.
//
// Note [Only the order that CUDA promises]. ThreadSanitizer reports what is not ordered, so the emulation must not order more than CUDA
// does. Enqueueing orders the host before the stream and never the other way round: the queue is a list that the host extends with a
// release store and the stream follows with acquire loads. No lock is shared by two streams, and nobody sleeps on a condition variable
// or an atomic's wait (the library's waiter table would order strangers): they look again after a pause.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "streams.hpp"

namespace cuda_emulation {

namespace {
struct Node {
  OperationPtr operation;
  std::atomic<Node*> next{nullptr};
};

void pause() { std::this_thread::sleep_for(std::chrono::microseconds(20)); }

void wait_until_done(Completion const& completion) {
  while (!completion.is_done.load(std::memory_order_acquire)) pause();
}
}  // namespace

}  // namespace cuda_emulation

struct CUstream_st {
  explicit CUstream_st(std::uint64_t seed) : worker([this, seed] { run(seed); }) {}

  void run(std::uint64_t seed) {
    cuda_emulation::Random random(seed);
    std::uint64_t now_ns = 0;
    cuda_emulation::Node* last = &first;
    while (true) {
      cuda_emulation::Node* const node = last->next.load(std::memory_order_acquire);
      if (node == nullptr) {
        if (is_closing.load(std::memory_order_acquire)) return;
        cuda_emulation::pause();
        continue;
      }
      last = node;
      if (is_abandoned.load(std::memory_order_acquire)) continue;
      while (node->operation->waits_for() != nullptr) cuda_emulation::pause();
      while (!node->operation->step(random, now_ns)) {
      }
    }
  }

  cuda_emulation::Node first;
  cuda_emulation::Node* tail = &first;  // the host's end
  std::atomic<bool> is_closing{false};
  std::atomic<bool> is_abandoned{false};
  std::thread worker;
};

namespace cuda_emulation {

struct Streams::State {
  std::vector<std::unique_ptr<CUstream_st>> streams;
  std::uint64_t seed = 0;

  static void close(CUstream_st& stream) {
    stream.is_closing.store(true, std::memory_order_release);
    stream.worker.join();
    for (Node* node = stream.first.next.load(); node != nullptr;) {
      Node* const next = node->next.load();
      delete node;
      node = next;
    }
  }
  std::shared_ptr<Completion> mark(cudaStream_t stream) {
    auto completion = std::make_shared<Completion>();
    append(stream, make_record(completion));
    return completion;
  }
  static void append(cudaStream_t stream, OperationPtr operation) {
    Node* const node = new Node;
    node->operation = std::move(operation);
    stream->tail->next.store(node, std::memory_order_release);
    stream->tail = node;
  }
};

Streams::Streams() : state_(std::make_unique<State>()) {}
Streams::~Streams() {
  for (auto const& stream : state_->streams) State::close(*stream);
}

void Streams::reset(Options const& options) { state_->seed = options.seed; }

cudaStream_t Streams::create() { return state_->streams.emplace_back(std::make_unique<CUstream_st>(++state_->seed)).get(); }

bool Streams::has(cudaStream_t stream) const {
  return std::any_of(state_->streams.begin(), state_->streams.end(), [&](auto const& each) { return each.get() == stream; });
}

// Waits for the rest of its work: more order than CUDA gives, and the stream's last act.
void Streams::destroy(cudaStream_t stream) {
  State::close(*stream);
  std::erase_if(state_->streams, [&](auto const& each) { return each.get() == stream; });
}

void Streams::enqueue(cudaStream_t stream, OperationPtr operation) { State::append(stream, std::move(operation)); }

void Streams::finish(cudaStream_t stream) {
  if (!stream->is_abandoned.load()) wait_until_done(*state_->mark(stream));
}

void Streams::finish(std::shared_ptr<Completion> const& completion) { wait_until_done(*completion); }

void Streams::drain() {
  for (auto const& stream : state_->streams) finish(stream.get());
}

bool Streams::is_idle(cudaStream_t) { refuse("cudaStreamQuery in thread mode"); }

bool Streams::is_done(std::shared_ptr<Completion> const& completion) { return completion->is_done.load(std::memory_order_acquire); }

void Streams::abandon() {
  for (auto const& stream : state_->streams) stream->is_abandoned.store(true, std::memory_order_release);
}

std::size_t Streams::num_streams() const { return state_->streams.size(); }
std::size_t Streams::num_pending() const { refuse("num_pending in thread mode"); }
bool Streams::touches(void const*, void const*) const { return false; }  // the sanitizer sees it

}  // namespace cuda_emulation
