#include "cuda/copy_issuer.hpp"

#include <algorithm>
#include <cstring>

#include "core/check.hpp"
#include "cuda/pinned_arena.hpp"

namespace residentkv::cuda {

namespace {

cudaMemcpyKind kind_of(Direction direction) { return direction == Direction::kOffload ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice; }

void launch(Direction direction, KernelCopy const& copy, std::uint32_t num_ctas, cudaStream_t stream) {
  if (direction == Direction::kOffload) {
    call("cudaLaunchKernelEx(gather_blocks)", stream, gather_blocks, copy, num_ctas, stream);
  } else {
    call("cudaLaunchKernelEx(scatter_blocks)", stream, scatter_blocks, copy, num_ctas, stream);
  }
}

#if CUDART_VERSION >= 12080
void copy_batch(std::vector<void*> const& targets, std::vector<void const*> const& sources, std::vector<std::size_t> const& sizes,
                cudaStream_t stream) {
  cudaMemcpyAttributes attributes{};
  attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  attributes.flags = cudaMemcpyFlagPreferOverlapWithCompute;
  std::size_t first = 0;
#if CUDART_VERSION >= 13000
  RKV_CUDA(cudaMemcpyBatchAsync, stream, targets.data(), sources.data(), sizes.data(), sizes.size(), &attributes, &first, std::size_t{1},
           stream);
#else
  // 12.8 and 12.9 take non-const arrays and report which copy failed.
  std::size_t failed = 0;
  RKV_CUDA(cudaMemcpyBatchAsync, stream, const_cast<void**>(targets.data()), const_cast<void**>(sources.data()),
           const_cast<std::size_t*>(sizes.data()), sizes.size(), &attributes, &first, std::size_t{1}, &failed, stream);
#endif
}
#else
void copy_batch(std::vector<void*> const&, std::vector<void const*> const&, std::vector<std::size_t> const&, cudaStream_t) {
  throw InvariantError("batched copies were chosen, and this build has none");  // DeviceInfo::has_batch_copies() said no
}
#endif

}  // namespace

CopyIssuer::CopyIssuer(Geometry const& geometry, Options options, cudaStream_t stream) : geometry_(geometry), options_(options) {
  usable_.add(CopyPath::kLoop);
  if (options.has_batch_copies) usable_.add(CopyPath::kBatch);
  if (!geometry.suits_kernels()) return;
  void* device_slots = nullptr;
  RKV_CUDA(cudaHostGetDevicePointer, nullptr, &device_slots, geometry.slots().base, 0U);
  device_slots_ = static_cast<std::byte*>(device_slots);
  std::size_t const table_bytes = geometry.planes().size() * sizeof(KernelPlane);
  plane_table_ = std::make_unique<DeviceBuffer>(table_bytes);
  PinnedArena const table(table_bytes);
  std::memcpy(table.data(), geometry.planes().data(), table_bytes);
  RKV_CUDA(cudaMemcpyAsync, stream, plane_table_->data(), table.data(), table_bytes, cudaMemcpyHostToDevice, stream);
  RKV_CUDA(cudaStreamSynchronize, stream, stream);
  usable_.add(CopyPath::kKernel);
  if (options.num_staging_blocks == 0) return;
  staging_ = std::make_unique<DeviceBuffer>(options.num_staging_blocks * geometry.slot_stride_bytes());
  usable_.add(CopyPath::kStaged);
}

void CopyIssuer::issue(CopyPath path, Direction direction, PlaneRange planes, PairLists const& lists, cudaStream_t stream) const {
  RKV_INVARIANT(usable_.has(path) && !lists.pairs.empty(), "issued ", lists.pairs.size(), " pairs by ", name_of(path));
  switch (path) {
    case CopyPath::kLoop:
    case CopyPath::kBatch:
      return issue_runs(path, direction, runs(planes, lists.pairs), stream);
    case CopyPath::kKernel: {
      KernelCopy copy = kernel_copy(planes);
      copy.pairs = lists.device_pairs;
      copy.num_pairs = static_cast<std::uint32_t>(lists.pairs.size());
      copy.slots = device_slots_;
      return launch(direction, copy, options_.num_ctas, stream);
    }
    case CopyPath::kStaged:
      return issue_staged(direction, planes, lists, stream);
  }
}

// Runs that continue each other on both sides become one. That happens between planes that lie behind each other in device memory, and
// between blocks where a plane has no gaps and is alone in its slot.
std::vector<Run> CopyIssuer::runs(PlaneRange planes, std::span<KernelPair const> pairs) const {
  std::vector<Run> all;
  all.reserve(pairs.size() * planes.size());
  for (KernelPair const& pair : pairs) {
    for (std::uint32_t p = planes.begin; p < planes.end; ++p) {
      KernelPlane const& plane = geometry_.planes()[p];
      Run const run{geometry_.run(plane, pair.block), geometry_.slot(pair.slot) + plane.slot_offset,
                    static_cast<std::size_t>(plane.run_bytes)};
      bool const continues =
          !all.empty() && all.back().device + all.back().num_bytes == run.device && all.back().slot + all.back().num_bytes == run.slot;
      if (continues) {
        all.back().num_bytes += run.num_bytes;
      } else {
        all.push_back(run);
      }
    }
  }
  return all;
}

void CopyIssuer::issue_runs(CopyPath path, Direction direction, std::vector<Run> const& runs, cudaStream_t stream) const {
  std::vector<void*> targets;
  std::vector<void const*> sources;
  std::vector<std::size_t> sizes;
  for (Run const& run : runs) {
    targets.push_back(direction == Direction::kOffload ? run.slot : run.device);
    sources.push_back(direction == Direction::kOffload ? run.device : run.slot);
    sizes.push_back(run.num_bytes);
  }
  if (path == CopyPath::kBatch) return copy_batch(targets, sources, sizes, stream);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    RKV_CUDA(cudaMemcpyAsync, stream, targets[i], sources[i], sizes[i], kind_of(direction), stream);
  }
}

KernelCopy CopyIssuer::kernel_copy(PlaneRange planes) const {
  KernelCopy copy{};
  copy.planes = reinterpret_cast<KernelPlane const*>(plane_table_->data()) + planes.begin;
  copy.num_planes = planes.size();
  copy.max_run_bytes = static_cast<std::int64_t>(geometry_.max_run_bytes(planes));
  copy.slot_stride_bytes = static_cast<std::int64_t>(geometry_.slot_stride_bytes());
  return copy;
}

// A group of pairs at a time: relayout between blocks and the staging buffer by a kernel, and between staging buffer and slots by a copy
// engine, one piece per pair (consecutive slots: one for all). Stream order keeps the next group off the buffer until this one is through.
void CopyIssuer::issue_staged(Direction direction, PlaneRange planes, PairLists const& lists, cudaStream_t stream) const {
  std::size_t const first_byte = static_cast<std::size_t>(geometry_.planes()[planes.begin].slot_offset);
  std::size_t const num_bytes = geometry_.bytes_of(planes);
  for (std::size_t begin = 0; begin < lists.pairs.size(); begin += options_.num_staging_blocks) {
    std::size_t const count = std::min<std::size_t>(options_.num_staging_blocks, lists.pairs.size() - begin);
    KernelCopy relayout = kernel_copy(planes);
    relayout.pairs = lists.device_staged_pairs + begin;
    relayout.num_pairs = static_cast<std::uint32_t>(count);
    relayout.slots = staging_->data();
    std::vector<Run> pieces;
    for (std::size_t i = 0; i < count; ++i) {
      std::byte* const staged = staging_->data() + i * geometry_.slot_stride_bytes() + first_byte;
      std::byte* const in_slot = geometry_.slot(lists.pairs[begin + i].slot) + first_byte;
      bool const continues =
          !pieces.empty() && num_bytes == geometry_.slot_stride_bytes() && pieces.back().slot + pieces.back().num_bytes == in_slot;
      if (continues) {
        pieces.back().num_bytes += num_bytes;
      } else {
        pieces.push_back({staged, in_slot, num_bytes});
      }
    }
    CopyPath const engine = options_.has_batch_copies && pieces.size() > 1 ? CopyPath::kBatch : CopyPath::kLoop;
    if (direction == Direction::kOffload) launch(direction, relayout, options_.num_ctas, stream);
    issue_runs(engine, direction, pieces, stream);
    if (direction == Direction::kRestore) launch(direction, relayout, options_.num_ctas, stream);
  }
}

}  // namespace residentkv::cuda
