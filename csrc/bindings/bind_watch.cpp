#include "bindings/manager_handle.hpp"

namespace residentkv::bindings {

namespace {

struct Counts {
  std::uint64_t usable, free, cached, active, resident_idle, resident_active, reserved, filling, protected_, num_claims, num_requests,
      num_preempted, num_steps_planned, num_steps_in_flight, num_allocations, num_evictions, num_nodes, num_query_tokens, num_hit_tokens,
      num_pending_events, metadata_bytes;
};

Counts counts(ManagerHandle& handle) {
  return handle.gate.read([&] {
    BlockManager& manager = handle.manager;
    BlockLedger& ledger = manager.ledger();
    BlockPool const& pool = ledger.pool();
    Counts counts{};
    counts.usable = pool.num_usable();
    counts.free = pool.num_free();
    counts.cached = pool.num_cached();
    counts.active = pool.num_active();
    counts.resident_idle = pool.num_resident_idle();
    counts.resident_active = pool.num_resident_active();
    counts.reserved = pool.num_reserved();
    counts.filling = ledger.num_filling();
    counts.protected_ = ledger.num_protected();
    counts.num_claims = ledger.regions().all().size();
    counts.num_requests = manager.requests().size();
    counts.num_preempted = manager.requests().num_preempted();
    counts.num_steps_planned = manager.num_steps_planned();
    counts.num_steps_in_flight = manager.num_steps_in_flight();
    counts.num_allocations = pool.num_allocations();
    counts.num_evictions = pool.num_evictions();
    counts.num_nodes = ledger.index().num_nodes();
    counts.num_query_tokens = manager.num_query_tokens();
    counts.num_hit_tokens = manager.num_hit_tokens();
    counts.num_pending_events = ledger.events().num_pending();
    counts.metadata_bytes = manager.metadata_bytes();
    return counts;
  });
}

py::array_t<std::uint8_t> block_states(ManagerHandle& handle) {
  return handle.gate.read([&] {
    BlockPool const& pool = handle.manager.ledger().pool();
    py::array_t<std::uint8_t> array(static_cast<py::ssize_t>(pool.num_rows()));
    std::uint8_t* const states = array.mutable_data();
    for (std::uint32_t i = 0; i < pool.num_rows(); ++i) states[i] = static_cast<std::uint8_t>(pool.state(BlockId{i}));
    return array;
  });
}

py::array_t<std::int32_t> invalidate(ManagerHandle& handle, py::handle block_ids, std::uint16_t cause, std::int64_t now_ns) {
  return handle.gate.enter(
      [&] { return numbers_of<std::int32_t, RowId>(handle.manager.invalidate(int32_span(block_ids, "block_ids"), cause, now_ns)); });
}

py::array_t<std::int32_t> reset(ManagerHandle& handle, std::int64_t now_ns) {
  return handle.gate.enter([&] { return numbers_of<std::int32_t, RowId>(handle.manager.reset(now_ns)); });
}

// Long and touches nothing of Python's, so other threads may run; one that enters this manager gets a ContractError from the gate.
void check_invariants(ManagerHandle& handle) {
  py::gil_scoped_release const released;
  handle.gate.enter([&] { handle.manager.check(); });
}

}  // namespace

void bind_watch(py::module_& module, py::class_<ManagerHandle>& manager) {
  py::class_<Counts>(module, "Counts", "Counters of the whole manager; blocks unless named otherwise.")
      .def_readonly("usable", &Counts::usable)
      .def_readonly("free", &Counts::free)
      .def_readonly("cached", &Counts::cached)
      .def_readonly("active", &Counts::active)
      .def_readonly("resident_idle", &Counts::resident_idle)
      .def_readonly("resident_active", &Counts::resident_active)
      .def_readonly("reserved", &Counts::reserved)
      .def_readonly("filling", &Counts::filling)
      .def_readonly("protected", &Counts::protected_)
      .def_readonly("num_claims", &Counts::num_claims)
      .def_readonly("num_requests", &Counts::num_requests)
      .def_readonly("num_preempted", &Counts::num_preempted)
      .def_readonly("num_steps_planned", &Counts::num_steps_planned)
      .def_readonly("num_steps_in_flight", &Counts::num_steps_in_flight)
      .def_readonly("num_allocations", &Counts::num_allocations)
      .def_readonly("num_evictions", &Counts::num_evictions)
      .def_readonly("num_nodes", &Counts::num_nodes)
      .def_readonly("num_query_tokens", &Counts::num_query_tokens)
      .def_readonly("num_hit_tokens", &Counts::num_hit_tokens)
      .def_readonly("num_pending_events", &Counts::num_pending_events)
      .def_readonly("metadata_bytes", &Counts::metadata_bytes);
  manager.def("counts", &counts);
  manager.def("block_states", &block_states);
  manager.def("invalidate", &invalidate, py::arg("block_ids"), py::arg("cause"), py::arg("now_ns"));
  manager.def("reset", &reset, py::arg("now_ns"));
  manager.def("check_invariants", &check_invariants);
  manager.def("poison", [](ManagerHandle& handle, std::string const& reason) { handle.gate.poison(reason); }, py::arg("reason"));
  manager.def("close", [](ManagerHandle& handle) { handle.gate.close(); });
  manager.def_property_readonly("poisoned", [](ManagerHandle const& handle) -> py::object {
    if (handle.gate.poisoned().empty()) return py::none();
    return py::str(handle.gate.poisoned());
  });
}

}  // namespace residentkv::bindings
