#include "operation.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace cuda_emulation {

thread_local bool is_inside_host_call = false;
thread_local unsigned long long num_bytes_stored = 0;

namespace {

// Prices of the emulated clock. They give calibration different numbers to choose between, and say nothing about any device.
constexpr std::uint64_t kCopyNs = 2000;
constexpr std::uint64_t kBatchedCopyNs = 500;
constexpr std::uint64_t kKernelNs = 5000;
constexpr std::uint64_t cost_of_copied(std::size_t count) { return count / 24; }
constexpr std::uint64_t cost_of_stored(std::uint64_t count) { return count / 16; }

constexpr std::size_t kPieceBytes = 16384;

class Copies final : public Operation {
 public:
  Copies(std::vector<Transfer> transfers, bool is_ordered) : transfers_(std::move(transfers)), is_ordered_(is_ordered) {}

  bool step(Random& random, std::uint64_t& now_ns) override {
    if (!is_ordered_ && done_ == 0 && offset_ == 0) random.shuffle(transfers_);
    Transfer const& transfer = transfers_[done_];
    std::size_t const count = std::min(transfer.count - offset_, 1 + random.below(kPieceBytes));
    std::memcpy(transfer.target + offset_, transfer.source + offset_, count);
    now_ns += cost_of_copied(count) + (offset_ == 0 ? (is_ordered_ ? kCopyNs : kBatchedCopyNs) : 0);
    offset_ += count;
    if (offset_ < transfer.count) return false;
    offset_ = 0;
    return ++done_ == transfers_.size();
  }

  bool touches(void const* begin, void const* end) const override {
    auto const overlaps = [&](std::byte const* from, std::size_t count) { return from < end && begin < from + count; };
    return std::any_of(transfers_.begin(), transfers_.end(),
                       [&](Transfer const& t) { return overlaps(t.target, t.count) || overlaps(t.source, t.count); });
  }

 private:
  std::vector<Transfer> transfers_;
  bool is_ordered_;
  std::size_t done_ = 0;
  std::size_t offset_ = 0;
};

class Fill final : public Operation {
 public:
  Fill(std::byte* target, int value, std::size_t count) : target_(target), value_(value), count_(count) {}
  bool step(Random&, std::uint64_t& now_ns) override {
    std::memset(target_, value_, count_);
    now_ns += kCopyNs;
    return true;
  }
  bool touches(void const* begin, void const* end) const override { return target_ < end && begin < target_ + count_; }

 private:
  std::byte* target_;
  int value_;
  std::size_t count_;
};

class Kernel final : public Operation {
 public:
  Kernel(cudaLaunchConfig_t const& config, std::function<void()> thread) : config_(config), thread_(std::move(thread)) {
    for (unsigned z = 0; z < config.gridDim.z; ++z)
      for (unsigned y = 0; y < config.gridDim.y; ++y)
        for (unsigned x = 0; x < config.gridDim.x; ++x) blocks_.push_back({x, y, z});
  }
  bool step(Random& random, std::uint64_t& now_ns) override {
    if (done_ == 0) {
      random.shuffle(blocks_);
      now_ns += kKernelNs;
    }
    num_bytes_stored = 0;
    run_block(config_, thread_, blocks_[done_], random);
    now_ns += cost_of_stored(num_bytes_stored);
    return ++done_ == blocks_.size();
  }

 private:
  cudaLaunchConfig_t config_;
  std::function<void()> thread_;
  std::vector<uint3> blocks_;
  std::size_t done_ = 0;
};

class HostCall final : public Operation {
 public:
  HostCall(cudaHostFn_t function, void* user_data) : function_(function), user_data_(user_data) {}
  bool step(Random&, std::uint64_t&) override {
    is_inside_host_call = true;
    function_(user_data_);
    is_inside_host_call = false;
    return true;
  }
  bool is_device_work() const override { return false; }

 private:
  cudaHostFn_t function_;
  void* user_data_;
};

class Record final : public Operation {
 public:
  explicit Record(std::shared_ptr<Completion> completion) : completion_(std::move(completion)) {}
  bool step(Random&, std::uint64_t& now_ns) override {
#ifdef CUDA_EMULATION_THREADS
    now_ns = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
    completion_->time_ns = now_ns;
    completion_->is_done.store(true, std::memory_order_release);
    return true;
  }

 private:
  std::shared_ptr<Completion> completion_;
};

class Wait final : public Operation {
 public:
  explicit Wait(std::shared_ptr<Completion> completion) : completion_(std::move(completion)) {}
  Completion const* waits_for() const override {
    return completion_->is_done.load(std::memory_order_acquire) ? nullptr : completion_.get();
  }
  bool step(Random&, std::uint64_t& now_ns) override {
    now_ns = std::max(now_ns, completion_->time_ns);
    return true;
  }

 private:
  std::shared_ptr<Completion> completion_;
};

}  // namespace

OperationPtr make_copies(std::vector<Transfer> transfers, bool is_ordered) {
  return std::make_unique<Copies>(std::move(transfers), is_ordered);
}
OperationPtr make_fill(std::byte* target, int value, std::size_t count) { return std::make_unique<Fill>(target, value, count); }
OperationPtr make_kernel(cudaLaunchConfig_t const& config, std::function<void()> thread) {
  return std::make_unique<Kernel>(config, std::move(thread));
}
OperationPtr make_host_call(cudaHostFn_t function, void* user_data) { return std::make_unique<HostCall>(function, user_data); }
OperationPtr make_record(std::shared_ptr<Completion> completion) { return std::make_unique<Record>(std::move(completion)); }
OperationPtr make_wait(std::shared_ptr<Completion> completion) { return std::make_unique<Wait>(std::move(completion)); }

}  // namespace cuda_emulation
