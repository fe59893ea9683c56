#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>

#include "bindings/backend_holder.hpp"
#include "bindings/manager_handle.hpp"
#include "core/device_error.hpp"
#include "tier/host_arena.hpp"
#ifdef RESIDENTKV_HAS_CUDA
#include "cuda/cuda_backend.hpp"
#include "cuda/measure.hpp"
#endif

namespace residentkv::bindings {

namespace {

#ifdef RESIDENTKV_HAS_CUDA
std::optional<std::string> cuda_device() {
  auto const device = cuda::find_device();
  return device ? std::optional(device->name) : std::nullopt;
}

BackendHolder cuda_backend(PlaneTuples const& planes, std::uint32_t num_blocks, HostArena const& arena, std::uint32_t max_pairs,
                           std::uint32_t num_ctas, std::uint32_t num_staging_blocks, std::optional<std::string> const& calibration) {
  KVLayout const layout = layout_of(planes, num_blocks);
  std::size_t const num_slots = std::min<std::size_t>(arena.num_bytes() / layout.block_bytes(), INT32_MAX);
  cuda::CudaBackend::Options options{};
  options.max_pairs = max_pairs;
  options.num_ctas = num_ctas;
  options.num_staging_blocks = num_staging_blocks;
  if (calibration) options.calibration = cuda::Calibration::parse(*calibration);
  return {std::make_unique<cuda::CudaBackend>(
      layout,
      cuda::HostSlots{.base = arena.data(), .stride_bytes = layout.block_bytes(), .num_slots = static_cast<std::uint32_t>(num_slots)},
      std::move(options))};
}

// Before the translator of its base class is asked: translators are tried last registered first.
void register_cuda_error() {
  static py::handle const cuda_error = py::module_::import("residentkv.contract.errors").attr("CudaError").cast<py::object>().release();
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (cuda::CudaError const& error) {
      py::set_error(cuda_error, py::make_tuple(error.call(), static_cast<int>(error.code()), error.stream()));
    }
  });
}

std::string cuda_calibrate(std::uint32_t num_ctas, std::uint32_t num_repeats) {
  return cuda::calibrate({.num_ctas = num_ctas, .num_repeats = num_repeats}).text();
}
#else
void register_cuda_error() {}

constexpr char const* kNoCuda = "this build of residentkv has no CUDA backend: it was compiled without a CUDA compiler";

std::optional<std::string> cuda_device() { return std::nullopt; }

BackendHolder cuda_backend(PlaneTuples const&, std::uint32_t, HostArena const&, std::uint32_t, std::uint32_t, std::uint32_t,
                           std::optional<std::string> const&) {
  throw DeviceError(kNoCuda);
}

std::string cuda_calibrate(std::uint32_t, std::uint32_t) { throw DeviceError(kNoCuda); }
#endif

}  // namespace

void bind_cuda(py::module_& module) {
  register_cuda_error();
  module.def("cuda_device", &cuda_device);
  module.def("cuda_calibrate", &cuda_calibrate, py::kw_only(), py::arg("num_ctas") = 12, py::arg("num_repeats") = 3,
             py::call_guard<py::gil_scoped_release>());
  module.def("cuda_backend", &cuda_backend, py::kw_only(), py::arg("planes"), py::arg("num_blocks"), py::arg("arena"),
             py::arg("max_pairs") = 1024, py::arg("num_ctas") = 12, py::arg("num_staging_blocks") = 0, py::arg("calibration") = py::none(),
             py::keep_alive<0, 3>());
}

}  // namespace residentkv::bindings
