#include <algorithm>
#include <cstddef>

#include "bindings/manager_handle.hpp"

namespace residentkv::bindings {

EventKind event_kind(std::string const& name) {
  auto const* const found = std::ranges::find(kEventNames, name);
  RKV_REQUIRE(found != kEventNames.end(), "unknown event '", name, "'");
  return static_cast<EventKind>(found - kEventNames.begin());
}

namespace {

// numpy's view of EventRecord, field by field.
py::dtype event_dtype() {
  py::list names;
  py::list formats;
  py::list offsets;
  auto const field = [&](char const* name, char const* format, std::size_t offset) {
    names.append(name);
    formats.append(py::dtype(format));
    offsets.append(offset);
  };
  field("sequence", "u8", offsetof(EventRecord, sequence));
  field("timestamp_ns", "i8", offsetof(EventRecord, timestamp_ns));
  field("request", "u8", offsetof(EventRecord, request));
  field("claim", "u4", offsetof(EventRecord, claim));
  field("block", "i4", offsetof(EventRecord, block));
  field("position", "i4", offsetof(EventRecord, position));
  field("required", "i4", offsetof(EventRecord, required));
  field("materialized", "i4", offsetof(EventRecord, materialized));
  field("leading", "i4", offsetof(EventRecord, leading));
  field("kind", "u2", offsetof(EventRecord, kind));
  field("cause", "u2", offsetof(EventRecord, cause));
  field("predicate_before", "u1", offsetof(EventRecord, predicate_before));
  field("predicate_after", "u1", offsetof(EventRecord, predicate_after));
  field("is_protected", "u1", offsetof(EventRecord, is_protected));
  return py::dtype(names, formats, offsets, sizeof(EventRecord));
}

py::array drain_events(ManagerHandle& handle) {
  std::vector<EventRecord> const records = handle.gate.read([&] { return handle.manager.ledger().events().drain(); });
  return py::array(event_dtype(), {static_cast<py::ssize_t>(records.size())}, records.data());
}

std::uint64_t record_event(ManagerHandle& handle, std::string const& kind, std::uint32_t claim, std::uint64_t request,
                           std::int64_t now_ns) {
  return handle.gate.enter([&] {
    EventRecord record{.sequence = 0, .timestamp_ns = now_ns, .request = RequestKey{request}, .claim = ClaimId{claim}};
    record.kind = event_kind(kind);
    return handle.manager.ledger().events().record(record);
  });
}

template <std::size_t kSize>
py::tuple names_tuple(std::array<std::string_view, kSize> const& names) {
  py::tuple result(kSize);
  for (std::size_t i = 0; i < kSize; ++i) result[i] = py::str(names[i].data(), names[i].size());
  return result;
}

}  // namespace

void bind_events(py::module_& module, py::class_<ManagerHandle>& manager) {
  module.attr("EVENT_KINDS") = names_tuple(kEventNames);
  module.attr("VICTIM_REASONS") = names_tuple(kVictimReasonNames);
  manager.def("record_event", &record_event, py::arg("kind"), py::arg("claim"), py::arg("request"), py::arg("now_ns"));
  manager.def("drain_events", &drain_events);
}

}  // namespace residentkv::bindings
