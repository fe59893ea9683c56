#pragma once
// The emulated streams. Defined by the mode: streams_fibers.cpp executes on the thread that waits, in a seeded order;
// streams_threads.cpp gives every stream a thread of its own.
#include <cstddef>
#include <memory>

#include "control.hpp"
#include "operation.hpp"

namespace cuda_emulation {

class Streams {
 public:
  Streams();
  ~Streams();
  void reset(Options const& options);

  cudaStream_t create();
  [[nodiscard]] bool has(cudaStream_t stream) const;
  void destroy(cudaStream_t stream);  // what it still has to do is done later, as with CUDA
  void enqueue(cudaStream_t stream, OperationPtr operation);

  void finish(cudaStream_t stream);  // returns when all its operations are done
  void finish(std::shared_ptr<Completion> const& completion);
  void drain();  // all streams
  // What a query sees. In fiber mode it also gives the device a moment: some operations may be executed first.
  bool is_idle(cudaStream_t stream);
  bool is_done(std::shared_ptr<Completion> const& completion);

  void abandon();  // a lost device: nothing that is enqueued happens any more
  [[nodiscard]] std::size_t num_streams() const;
  [[nodiscard]] std::size_t num_pending() const;
  [[nodiscard]] bool touches(void const* begin, void const* end) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cuda_emulation
