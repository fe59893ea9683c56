#include "cuda/flight.hpp"

#include "core/check.hpp"
#include "device/checksum.hpp"

namespace residentkv::cuda {

namespace {
KernelPair* pairs_in(std::byte* memory) { return reinterpret_cast<KernelPair*>(memory); }
}  // namespace

Flight::Flight(std::uint32_t num_layers, std::uint32_t max_pairs)
    : max_pairs_(max_pairs),
      host_pairs_(2 * std::size_t{max_pairs} * sizeof(KernelPair)),
      device_pairs_(2 * std::size_t{max_pairs} * sizeof(KernelPair)) {
  for (std::uint32_t stage = 0; stage < num_layers; ++stage) {
    landed_.emplace_back(cudaEventDisableTiming);
    done_.emplace_back(cudaEventDisableTiming);
    checks_.push_back({this, stage});
  }
}

void Flight::take(std::shared_ptr<CopyJob> job, Geometry const& geometry, std::uint32_t num_staging_blocks) {
  RKV_REQUIRE(job->num_pairs > 0 && job->num_pairs <= max_pairs_, "a job of ", job->num_pairs, " pairs; this backend takes 1 .. ",
              max_pairs_);
  RKV_REQUIRE(job->num_layers == geometry.num_layers(), "a job of ", job->num_layers, " layers for a layout of ", geometry.num_layers());
  RKV_REQUIRE(job->pieces.size() == std::size_t{job->num_pairs} * job->num_layers, job->pieces.size(), " pieces for ", job->num_pairs,
              " pairs of ", job->num_layers, " layers");
  KernelPair* const all = pairs_in(host_pairs_.data());
  for (std::size_t i = 0; i < job->pieces.size(); ++i) {
    Piece const& piece = job->pieces[i];
    bool const in_order = job->direction == Direction::kOffload || piece.layer == i / job->num_pairs;
    RKV_REQUIRE(in_order && piece.pair < job->num_pairs && piece.num_runs > 0, "piece ", i, " is of layer ", piece.layer, " and pair ",
                piece.pair, ": a restore goes layer by layer");
    Run const& run = job->runs[piece.first_run];
    KernelPair const pair = geometry.pair_at(piece.layer, run.device, run.slot);
    if (piece.layer != 0) continue;
    all[piece.pair] = pair;
    if (num_staging_blocks > 0) all[job->num_pairs + piece.pair] = {pair.block, piece.pair % num_staging_blocks};
  }
  num_pairs_ = job->num_pairs;
  num_listed_ = num_staging_blocks > 0 ? 2 * num_pairs_ : num_pairs_;
  num_stages_ = job->direction == Direction::kRestore ? job->num_layers : 1;
  num_settled_ = 0;
  checksums_.assign(job->pieces.size(), 0);
  progress_.emplace(std::move(job));
}

void Flight::upload(cudaStream_t stream) const {
  std::size_t const num_bytes = num_listed_ * sizeof(KernelPair);
  RKV_CUDA(cudaMemcpyAsync, stream, device_pairs_.data(), host_pairs_.data(), num_bytes, cudaMemcpyHostToDevice, stream);
}

PairLists Flight::lists() const noexcept {
  KernelPair const* const on_device = pairs_in(device_pairs_.data());
  return {{pairs_in(host_pairs_.data()), num_pairs_}, on_device, on_device + num_pairs_};
}

std::span<Piece const> Flight::pieces_of(std::uint32_t stage) const noexcept {
  std::span<Piece const> const all = job().pieces;
  std::size_t const count = all.size() / num_stages_;
  return all.subspan(stage * count, count);
}

void Flight::enqueue_checksums(std::uint32_t stage, cudaStream_t stream) {
  RKV_CUDA(cudaLaunchHostFunc, stream, stream, &Flight::take_checksums, static_cast<void*>(&checks_[stage]));
}

// On a thread of the driver: no CUDA, no exceptions, no locks.
void Flight::take_checksums(void* stage_check) noexcept {
  auto const& [flight, stage] = *static_cast<StageCheck const*>(stage_check);
  CopyJob const& job = flight->job();
  for (Piece const& piece : flight->pieces_of(stage)) {
    Checksum checksum;
    for (std::uint32_t i = piece.first_run; i < piece.first_run + piece.num_runs; ++i)
      checksum.add(job.runs[i].slot, job.runs[i].num_bytes);
    flight->checksums_[static_cast<std::size_t>(&piece - job.pieces.data())] = checksum.value();
  }
}

void Flight::settle() {
  CopyJob& job = this->job();
  for (Piece const& piece : pieces_of(num_settled_)) {
    std::uint64_t const taken = checksums_[static_cast<std::size_t>(&piece - job.pieces.data())];
    if (job.direction == Direction::kOffload) {
      job.checksum(piece) = taken;
      progress_->succeed(piece);
    } else if (taken == job.checksum(piece)) {
      progress_->succeed(piece);
    } else {
      progress_->fail(piece, CopyError::kChecksum, "the content is not what was offloaded");
    }
  }
  ++num_settled_;
}

void Flight::finish() {
  progress_->finish();
  progress_.reset();
}

void Flight::fail(std::string detail) {
  job().error = CopyError::kDevice;
  job().error_detail = std::move(detail);
  finish();
}

}  // namespace residentkv::cuda
