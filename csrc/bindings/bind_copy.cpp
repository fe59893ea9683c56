#include <pybind11/stl.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <utility>

#include "bindings/backend_holder.hpp"
#include "bindings/manager_handle.hpp"
#include "copy/engine.hpp"
#include "device/fake_backend.hpp"
#include "device/host_backend.hpp"
#include "tier/host_arena.hpp"

namespace residentkv::bindings {

namespace {

constexpr std::array<char const*, 5> kStateNames{"waiting", "running", "done", "failed", "cancelled"};
constexpr std::array<char const*, 6> kErrorNames{"none", "device", "timeout", "cancelled", "short_read", "checksum"};

std::unique_ptr<CopyEngine> make_engine(PlaneTuples const& planes, std::uint32_t num_blocks, HostArena const& arena, BackendHolder& holder,
                                        std::uint32_t max_tickets) {
  RKV_REQUIRE(holder.backend != nullptr, "this backend serves another engine already");
  KVLayout layout = layout_of(planes, num_blocks);
  RKV_REQUIRE(arena.num_bytes() >= layout.block_bytes(), "an arena of ", arena.num_bytes(), " bytes holds no block of ",
              layout.block_bytes());
  SlotArray const slots{
      .base = arena.data(),
      .stride_bytes = layout.block_bytes(),
      .num_slots = static_cast<std::uint32_t>(std::min<std::size_t>(arena.num_bytes() / layout.block_bytes(), INT32_MAX))};
  return std::make_unique<CopyEngine>(std::move(layout), slots, std::move(holder.backend), max_tickets);
}

std::vector<BlockPair> pairs_of(py::handle blocks, py::handle slots) {
  auto const block_ids = int32_span(blocks, "blocks");
  auto const slot_ids = int32_span(slots, "slots");
  RKV_REQUIRE(block_ids.size() == slot_ids.size(), block_ids.size(), " blocks for ", slot_ids.size(), " slots");
  std::vector<BlockPair> pairs;
  pairs.reserve(block_ids.size());
  for (std::size_t i = 0; i < block_ids.size(); ++i) {
    pairs.push_back({.block = BlockId{static_cast<std::uint32_t>(block_ids[i])}, .slot = SlotId{static_cast<std::uint32_t>(slot_ids[i])}});
  }
  return pairs;
}

std::optional<std::uint64_t> offload(CopyEngine& engine, py::handle blocks, py::handle slots) {
  auto const ticket = engine.offload(pairs_of(blocks, slots));
  return ticket ? std::optional(index_of(*ticket)) : std::nullopt;
}

std::optional<std::uint64_t> restore(CopyEngine& engine, py::handle blocks, py::handle slots,
                                     py::array_t<std::uint64_t, py::array::c_style> const& checksums) {
  auto const ticket = engine.restore(pairs_of(blocks, slots), std::span(checksums.data(), static_cast<std::size_t>(checksums.size())));
  return ticket ? std::optional(index_of(*ticket)) : std::nullopt;
}

std::chrono::nanoseconds timeout_of(double seconds) {
  RKV_REQUIRE(std::isfinite(seconds) && seconds >= 0, "timeout_s must be finite and not negative, got ", seconds);
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::min(seconds, 86'400.0) * 1e9));
}

py::array_t<std::uint64_t> checksums_of(CopyResult const& result) { return copied(std::span<std::uint64_t const>(result.checksums)); }

}  // namespace

void bind_copy(py::module_& module) {
  py::class_<HostArena>(module, "HostArena", "Host memory for the slots of a tier; csrc/tier/host_arena.hpp.", py::buffer_protocol())
      .def(py::init<std::size_t>(), py::kw_only(), py::arg("num_bytes"))
      .def_property_readonly("num_bytes", &HostArena::num_bytes)
      .def_property_readonly("not_locked", &HostArena::not_locked)
      .def_buffer([](HostArena& arena) {
        return py::buffer_info(reinterpret_cast<std::uint8_t*>(arena.data()), static_cast<py::ssize_t>(arena.num_bytes()));
      });
  py::class_<BackendHolder>(module, "Backend", "Who moves the bytes; csrc/device/backend.hpp. Serves one engine.");
  module.def(
      "host_backend", [](std::uint32_t num_threads) { return BackendHolder{std::make_unique<HostBackend>(num_threads)}; }, py::kw_only(),
      py::arg("num_threads"));
  module.def(
      "fake_backend",
      [](std::uint64_t seed, std::uint32_t max_pieces_per_poll, std::uint32_t device_error, std::uint32_t corruption,
         std::uint32_t short_read, std::uint32_t stall) {
        return BackendHolder{std::make_unique<FakeBackend>(FakeBackend::Options{.seed = seed,
                                                                                .max_pieces_per_poll = max_pieces_per_poll,
                                                                                .device_error_permille = device_error,
                                                                                .corruption_permille = corruption,
                                                                                .short_read_permille = short_read,
                                                                                .stall_permille = stall})};
      },
      py::kw_only(), py::arg("seed"), py::arg("max_pieces_per_poll") = 4, py::arg("device_error_permille") = 0,
      py::arg("corruption_permille") = 0, py::arg("short_read_permille") = 0, py::arg("stall_permille") = 0);
  py::class_<CopyResult>(module, "CopyResult", "How a ticket ended; csrc/copy/engine.hpp.")
      .def_property_readonly("ticket", [](CopyResult const& result) { return index_of(result.ticket); })
      .def_property_readonly("is_restore", [](CopyResult const& result) { return result.direction == Direction::kRestore; })
      .def_property_readonly("state", [](CopyResult const& result) { return kStateNames[static_cast<std::size_t>(result.state)]; })
      .def_property_readonly("error", [](CopyResult const& result) { return kErrorNames[static_cast<std::size_t>(result.error)]; })
      .def_property_readonly("error_detail", [](CopyResult const& result) { return result.error_detail; })
      .def_property_readonly("failed_pairs", [](CopyResult const& result) { return result.failed_pairs; })
      .def_property_readonly("checksums", &checksums_of);
  py::class_<CopyEngine>(module, "CopyEngine", "Copies in flight between device blocks and host slots; csrc/copy/engine.hpp.")
      .def(py::init(&make_engine), py::kw_only(), py::arg("planes"), py::arg("num_blocks"), py::arg("arena"), py::arg("backend"),
           py::arg("max_tickets"), py::keep_alive<1, 4>(), py::keep_alive<1, 5>())
      .def("offload", &offload, py::arg("blocks"), py::arg("slots"))
      .def("restore", &restore, py::arg("blocks"), py::arg("slots"), py::arg("checksums"))
      .def("begin_after", &CopyEngine::begin_after, py::arg("event"))
      .def("poll", &CopyEngine::poll)
      .def(
          "wait",
          [](CopyEngine& engine, std::uint64_t ticket, double timeout_s) { return engine.wait(TicketId{ticket}, timeout_of(timeout_s)); },
          py::arg("ticket"), py::arg("timeout_s"), py::call_guard<py::gil_scoped_release>())
      .def(
          "wait_layers",
          [](CopyEngine& engine, std::uint64_t ticket, std::uint32_t num_layers, double timeout_s) {
            return engine.wait_layers(TicketId{ticket}, num_layers, timeout_of(timeout_s));
          },
          py::arg("ticket"), py::arg("num_layers"), py::arg("timeout_s"), py::call_guard<py::gil_scoped_release>())
      .def(
          "cancel", [](CopyEngine& engine, std::uint64_t ticket) { engine.stop(TicketId{ticket}, CopyError::kCancelled); },
          py::arg("ticket"))
      .def(
          "time_out", [](CopyEngine& engine, std::uint64_t ticket) { engine.stop(TicketId{ticket}, CopyError::kTimeout); },
          py::arg("ticket"))
      .def("close", &CopyEngine::close, py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("num_in_flight", &CopyEngine::num_in_flight)
      .def_property_readonly("max_tickets", &CopyEngine::max_tickets)
      .def_property_readonly("num_layers", [](CopyEngine const& engine) { return engine.layout().num_layers(); })
      .def_property_readonly("block_bytes", [](CopyEngine const& engine) { return engine.layout().block_bytes(); });
}

}  // namespace residentkv::bindings
