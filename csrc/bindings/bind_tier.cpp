#include <pybind11/stl.h>

#include <algorithm>
#include <string_view>

#include "bindings/manager_handle.hpp"
#include "device/checksum.hpp"
#include "tier/slot_table.hpp"

namespace residentkv::bindings {

namespace {

constexpr std::array<char const*, 4> kSlotStateNames{"free", "filling", "ready", "draining"};

ContentKey key_of(py::bytes const& object) {
  auto const text = static_cast<std::string_view>(object);
  ContentKey key{};
  RKV_REQUIRE(text.size() == key.size(), "a content key has ", key.size(), " bytes, got ", text.size());
  std::ranges::transform(text, key.begin(), [](char c) { return static_cast<std::uint8_t>(c); });
  return key;
}

SlotId slot_of(std::int64_t number) {
  RKV_REQUIRE(number >= 0 && number <= INT32_MAX, "slot ", number, " is no slot");
  return SlotId{static_cast<std::uint32_t>(number)};
}

std::optional<std::uint32_t> number_of(std::optional<SlotId> slot) { return slot ? std::optional(index_of(*slot)) : std::nullopt; }

// (slot, evicted key or None), or None.
py::object filled(std::optional<SlotTable::Filled> const& answer) {
  if (!answer) return py::none();
  py::object evicted = py::none();
  if (answer->evicted) evicted = py::bytes(reinterpret_cast<char const*>(answer->evicted->data()), answer->evicted->size());
  return py::make_tuple(index_of(answer->slot), evicted);
}

}  // namespace

void bind_tier(py::module_& module) {
  module.def(
      "checksum",
      [](py::buffer const& data) {
        py::buffer_info const info = data.request();
        RKV_REQUIRE(PyBuffer_IsContiguous(info.view(), 'C') != 0, "a checksum is taken of contiguous bytes");
        py::gil_scoped_release const released;
        Checksum sum;
        sum.add(static_cast<std::byte const*>(info.ptr), static_cast<std::size_t>(info.size * info.itemsize));
        return sum.value();
      },
      py::arg("data"));
  using Counts = SlotTable::Counts;
  py::class_<Counts>(module, "SlotCounts", "Slots of a tier by state; csrc/tier/slot_table.hpp.")
      .def_readonly("num_slots", &Counts::num_slots)
      .def_readonly("free", &Counts::free)
      .def_readonly("filling", &Counts::filling)
      .def_readonly("ready", &Counts::ready)
      .def_readonly("draining", &Counts::draining)
      .def_readonly("wanted", &Counts::wanted)
      .def_readonly("evictable", &Counts::evictable)
      .def_readonly("lent", &Counts::lent)
      .def_readonly("reserved", &Counts::reserved)
      .def_readonly("num_evictions", &Counts::num_evictions)
      .def_readonly("num_hits", &Counts::num_hits)
      .def_readonly("num_misses", &Counts::num_misses);
  py::class_<SlotTable>(module, "SlotTable", "What each slot of a tier holds, for whom; csrc/tier/slot_table.hpp.")
      .def(py::init<std::uint32_t>(), py::kw_only(), py::arg("num_slots"))
      .def("reserve", &SlotTable::reserve, py::arg("count"))
      .def("forfeit", &SlotTable::forfeit, py::arg("count"))
      .def(
          "find", [](SlotTable& table, py::bytes const& key) { return number_of(table.find(key_of(key))); }, py::arg("key"))
      .def(
          "has", [](SlotTable const& table, py::bytes const& key) { return table.has(key_of(key)); }, py::arg("key"))
      .def(
          "begin_fill_reserved", [](SlotTable& table, py::bytes const& key) { return filled(table.begin_fill_reserved(key_of(key))); },
          py::arg("key"))
      .def(
          "begin_fill",
          [](SlotTable& table, py::bytes const& key, std::uint32_t priority) { return filled(table.begin_fill(key_of(key), priority)); },
          py::arg("key"), py::arg("priority"))
      .def(
          "finish_fill",
          [](SlotTable& table, std::int64_t slot, py::array_t<std::uint64_t, py::array::c_style> const& checksums) {
            table.finish_fill(slot_of(slot), {checksums.data(), checksums.data() + checksums.size()});
          },
          py::arg("slot"), py::arg("checksums"))
      .def(
          "abort_fill", [](SlotTable& table, std::int64_t slot) { table.abort_fill(slot_of(slot)); }, py::arg("slot"))
      .def(
          "adopt",
          [](SlotTable& table, std::int64_t slot, py::bytes const& key, std::uint32_t priority,
             py::array_t<std::uint64_t, py::array::c_style> const& checksums) {
            table.adopt(slot_of(slot), key_of(key), priority, {checksums.data(), checksums.data() + checksums.size()});
          },
          py::arg("slot"), py::arg("key"), py::arg("priority"), py::arg("checksums"))
      .def(
          "begin_read", [](SlotTable& table, std::int64_t slot) { table.begin_read(slot_of(slot)); }, py::arg("slot"))
      .def(
          "end_read", [](SlotTable& table, std::int64_t slot) { table.end_read(slot_of(slot)); }, py::arg("slot"))
      .def(
          "checksums",
          [](SlotTable const& table, std::int64_t slot) { return copied(std::span<std::uint64_t const>(table.checksums(slot_of(slot)))); },
          py::arg("slot"))
      .def(
          "want", [](SlotTable& table, std::int64_t slot) { table.want(slot_of(slot)); }, py::arg("slot"))
      .def(
          "unwant", [](SlotTable& table, std::int64_t slot) { table.unwant(slot_of(slot)); }, py::arg("slot"))
      .def(
          "drop", [](SlotTable& table, std::int64_t slot) { table.drop(slot_of(slot)); }, py::arg("slot"))
      .def(
          "state",
          [](SlotTable const& table, std::int64_t slot) { return kSlotStateNames[static_cast<std::size_t>(table.state(slot_of(slot)))]; },
          py::arg("slot"))
      .def("counts", &SlotTable::counts)
      .def("check_invariants", &SlotTable::check_invariants);
}

}  // namespace residentkv::bindings
