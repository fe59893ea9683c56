#include "cuda/copy_kernels.hpp"

#include <algorithm>

#include "cuda/storage.hpp"

namespace residentkv::cuda {
namespace {

using testing::BlockToSlot;
using testing::check_success;
using testing::HostBytes;
using testing::PlaneShape;
using testing::Storage;
using testing::TestStream;

// The kernels' view of a storage: planes [first, end), the pairs; both in page-locked memory, which a device can read.
class Launch {
 public:
  Launch(Storage const& storage, std::vector<BlockToSlot> const& pairs, std::size_t first, std::size_t end)
      : planes_((end - first) * sizeof(KernelPlane)), pairs_(pairs.size() * sizeof(KernelPair)) {
    std::int64_t offset = 0;
    for (std::size_t p = 0; p < end; ++p) {
      PlaneShape const& shape = storage.shape(p);
      auto const run_bytes = static_cast<std::int64_t>(shape.run_bytes);
      if (p >= first) {
        reinterpret_cast<KernelPlane*>(planes_.data())[p - first] = {storage.plane(p), static_cast<std::int64_t>(shape.stride_bytes),
                                                                     run_bytes, offset};
        copy.max_run_bytes = std::max(copy.max_run_bytes, run_bytes);
      }
      offset += run_bytes;
    }
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      reinterpret_cast<KernelPair*>(pairs_.data())[i] = {pairs[i].block, pairs[i].slot};
    }
    copy.planes = reinterpret_cast<KernelPlane*>(planes_.data());
    copy.pairs = reinterpret_cast<KernelPair*>(pairs_.data());
    copy.slots = storage.slots();
    copy.slot_stride_bytes = static_cast<std::int64_t>(storage.block_bytes());
    copy.num_planes = static_cast<std::uint32_t>(end - first);
    copy.num_pairs = static_cast<std::uint32_t>(pairs.size());
  }
  KernelCopy copy{};

 private:
  HostBytes planes_;
  HostBytes pairs_;
};

std::vector<std::vector<PlaneShape>> geometries() {
#ifdef CUDA_EMULATION_THREADS
  return {{{48, 32}, {16, 16}}};  // 256 threads of the operating system per block: tiny
#else
  return {
      {{16, 16}},                                             // the smallest run
      {{4096, 4096}, {4096, 4096}},                           // exactly one piece
      {{8192 + 64, 4096 + 16}, {32, 16}, {4096, 4096 - 16}},  // unequal planes, gaps between blocks, tails
      {{3 * 4096, 3 * 4096}},                                 // several pieces
  };
#endif
}

std::vector<BlockToSlot> some_pairs() { return {{4, 0}, {0, 5}, {2, 3}, {1, 1}}; }

TEST(gather_and_scatter_move_the_named_runs_and_nothing_else) {
  for (std::vector<PlaneShape> const& geometry : geometries()) {
    cuda_emulation::reset({.seed = geometry.size()});
    Storage storage(geometry, 5, 6);
    TestStream stream;
    Launch const offload(storage, some_pairs(), 0, geometry.size());
    check_success(gather_blocks(offload.copy, 2, stream));
    check_success(cudaStreamSynchronize(stream));
    storage.expect_offload(some_pairs());
    CHECK(storage.is_as_expected());

    std::vector<BlockToSlot> const back = {{3, 0}, {0, 1}, {4, 5}};  // other blocks than they came from
    std::size_t const first = geometry.size() / 2;
    Launch const restore(storage, back, first, geometry.size());
    check_success(scatter_blocks(restore.copy, 1, stream));
    check_success(cudaStreamSynchronize(stream));
    storage.expect_restore(back, first, geometry.size());
    CHECK(storage.is_as_expected());
  }
}

TEST(a_launch_without_work_or_beyond_the_limits_is_an_error) {
  cuda_emulation::reset({});
  Storage const storage({{16, 16}}, 5, 6);
  TestStream stream;
  Launch launch(storage, some_pairs(), 0, 1);
  KernelCopy copy = launch.copy;
  copy.num_pairs = 0;
  CHECK_EQUAL(gather_blocks(copy, 1, stream), cudaErrorInvalidValue);
  copy = launch.copy;
  copy.num_planes = kMaxKernelPlanes + 1;
  CHECK_EQUAL(scatter_blocks(copy, 1, stream), cudaErrorInvalidValue);
  copy = launch.copy;
  copy.num_pairs = UINT32_MAX;
  CHECK_EQUAL(scatter_blocks(copy, 1, stream), cudaErrorInvalidValue);
  CHECK(storage.is_as_expected());
}

}  // namespace
}  // namespace residentkv::cuda
