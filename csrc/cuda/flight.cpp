#include "cuda/flight.hpp"

#include "core/check.hpp"

namespace residentkv::cuda {

namespace {
KernelPair* pairs_in(std::byte* memory) { return reinterpret_cast<KernelPair*>(memory); }
}  // namespace

Flight::Flight(std::uint32_t num_stages, std::uint32_t max_pairs)
    : done(cudaEventDisableTiming),
      max_pairs_(max_pairs),
      host_pairs_(2 * std::size_t{max_pairs} * sizeof(KernelPair)),
      device_pairs_(2 * std::size_t{max_pairs} * sizeof(KernelPair)) {
  for (std::uint32_t i = 0; i < num_stages; ++i) stages.emplace_back(cudaEventDisableTiming);
}

void Flight::load(std::span<KernelPair const> pairs, std::uint32_t num_staging_blocks) {
  RKV_INVARIANT(pairs.size() <= max_pairs_, pairs.size(), " pairs in a flight for ", max_pairs_);
  num_pairs_ = pairs.size();
  num_listed_ = num_staging_blocks > 0 ? 2 * num_pairs_ : num_pairs_;
  KernelPair* const all = pairs_in(host_pairs_.data());
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    all[i] = pairs[i];
    if (num_staging_blocks > 0) all[num_pairs_ + i] = {pairs[i].block, static_cast<std::uint32_t>(i % num_staging_blocks)};
  }
}

void Flight::upload(cudaStream_t stream) const {
  std::size_t const num_bytes = num_listed_ * sizeof(KernelPair);
  RKV_CUDA(cudaMemcpyAsync, stream, device_pairs_.data(), host_pairs_.data(), num_bytes, cudaMemcpyHostToDevice, stream);
}

PairLists Flight::lists() const noexcept {
  KernelPair const* const on_device = pairs_in(device_pairs_.data());
  return {{pairs_in(host_pairs_.data()), num_pairs_}, on_device, on_device + num_pairs_};
}

void Flight::take_checksums(void* flight) noexcept {
  auto& self = *static_cast<Flight*>(flight);
  KernelPair const* const pairs = pairs_in(self.host_pairs_.data());
  for (std::size_t i = 0; i < self.num_pairs_; ++i) {
    self.checksums[i] = self.checksum(self.geometry->slot(pairs[i].slot), self.geometry->block_bytes());
  }
}

}  // namespace residentkv::cuda
