#pragma once
// The door every call goes through: one caller at a time, not after close, not in a forked child, and not after the bookkeeping was found
// broken. Thread safety: this is what makes overlap an error instead of a race. A call costs two relaxed-ordered atomic operations.
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <new>
#include <string>

#include "core/check.hpp"

namespace residentkv {

class Gate {
 public:
  Gate() noexcept : fork_generation_(current_fork_generation()) {}

  // Runs `body` inside the gate.  THROWS: ContractError on overlap, after close or after fork; InvariantError once poisoned. An
  // InvariantError or std::bad_alloc leaving `body` poisons: state may be half changed, and serving another request's KV is worse than
  // stopping.
  template <typename Body>
  decltype(auto) enter(Body&& body) {
    Pass const pass(*this);
    if (!poisoned_.empty()) [[unlikely]]
      throw InvariantError("the manager is poisoned and serves nothing any more: " + poisoned_);
    try {
      return body();
    } catch (InvariantError const& error) {
      poisoned_ = error.what();
      throw;
    } catch (std::bad_alloc const&) {
      poisoned_ = "out of memory in the middle of an operation";
      throw;
    }
  }

  // For what a post-mortem needs: counters and recorded events can be read from a poisoned manager as well.
  template <typename Body>
  decltype(auto) read(Body&& body) {
    Pass const pass(*this);
    return body();
  }

  // Somebody else found the bookkeeping broken: nothing enters any more. The first reason is kept.
  void poison(std::string const& reason) {
    Pass const pass(*this);
    if (poisoned_.empty()) poisoned_ = reason.empty() ? "for no stated reason" : reason;
  }

  void close() {
    Pass const pass(*this);
    is_closed_ = true;
  }
  [[nodiscard]] std::string const& poisoned() const noexcept { return poisoned_; }  // empty: sound

 private:
  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate) {
      RKV_REQUIRE(!gate.is_taken_.exchange(true, std::memory_order_acquire),
                  "two threads are in one manager at once: give each manager to one thread, or lock around it");
      try {
        gate.check();
      } catch (...) {
        gate.is_taken_.store(false, std::memory_order_release);
        throw;
      }
    }
    ~Pass() { gate_.is_taken_.store(false, std::memory_order_release); }
    Pass(Pass const&) = delete;
    Pass& operator=(Pass const&) = delete;

   private:
    Gate& gate_;
  };

  void check() const {
    RKV_REQUIRE(fork_generation_ == current_fork_generation(),
                "this manager belongs to the parent process: build a new one after fork, or use the spawn start method");
    RKV_REQUIRE(!is_closed_, "the manager is closed");
  }

  static std::uint64_t current_fork_generation() noexcept {
    static int const registered = pthread_atfork(nullptr, nullptr, [] { num_forks_.fetch_add(1, std::memory_order_relaxed); });
    static_cast<void>(registered);
    return num_forks_.load(std::memory_order_relaxed);
  }

  inline static std::atomic<std::uint64_t> num_forks_{0};  // between this process and the first one that made a gate

  std::atomic<bool> is_taken_{false};
  bool is_closed_ = false;
  std::uint64_t fork_generation_;
  std::string poisoned_;
};

}  // namespace residentkv
