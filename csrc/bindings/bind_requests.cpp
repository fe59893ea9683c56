
#include <array>

#include "bindings/fast_calls.hpp"
#include "bindings/manager_handle.hpp"

namespace residentkv::bindings {

namespace {

struct RequestFacts {
  std::uint64_t request;
  std::uint32_t num_known_tokens;
  std::size_t num_committed_tokens;
  std::uint32_t num_written_tokens;
  std::uint32_t num_planned_tokens;
  std::size_t num_blocks;
  std::uint32_t peak_blocks;
  char const* status;
};

char const* status_name(RequestStatus status) {
  switch (status) {
    case RequestStatus::kRunning:
      return "running";
    case RequestStatus::kPreempting:
      return "preempting";
    case RequestStatus::kPreempted:
      return "preempted";
    case RequestStatus::kRetiring:
      return "retiring";
    case RequestStatus::kUnused:
      break;
  }
  return "unused";
}

RequestFacts request_facts(ManagerHandle& handle, std::int64_t number) {
  return handle.gate.enter([&] {
    RequestTable const& requests = handle.manager.requests();
    RowId const id = requests.admitted_row(number);
    Row const& row = requests.row(id);
    Request const& request = requests.request(id);
    return RequestFacts{.request = index_of(request.key),
                        .num_known_tokens = row.num_known,
                        .num_committed_tokens = request.nodes.size() * handle.manager.options().block_size,
                        .num_written_tokens = row.num_written,
                        .num_planned_tokens = row.num_planned,
                        .num_blocks = request.blocks.size(),
                        .peak_blocks = request.peak_blocks,
                        .status = status_name(row.status)};
  });
}

// admit(request, root, tokens, max_new_tokens, extra_keys, future_reuse, now_ns, /) -> Decision
PyObject* admit(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return call([&]() -> PyObject* {
    expect_arguments<7>(count, "admit takes request, root, tokens, max_new_tokens, extra_keys, future_reuse, now_ns");
    ManagerHandle& handle = handle_of(self);
    Decision const decision = handle.gate.enter([&] {
      std::span<std::int32_t const> const tokens = token_span(arguments[2]);
      InternedExtras const extras(handle.manager.ledger().index().extra_keys(), arguments[4]);
      return handle.manager.admit(
          {.key = RequestKey{static_cast<std::uint64_t>(int_argument(arguments[0], "request"))},
           .content = {.root = root_of(int_argument(arguments[1], "root")), .tokens = tokens, .extras = extras.ids()},
           .max_new_tokens = int_argument(arguments[3], "max_new_tokens"),
           .future_reuse = PyObject_IsTrue(arguments[5]) == 1},
          int_argument(arguments[6], "now_ns"));
    });
    return decision_object(decision).release().ptr();
  });
}

// finish(row, /) -> None
PyObject* finish(PyObject* self, PyObject* row) {
  return call([&]() -> PyObject* {
    ManagerHandle& handle = handle_of(self);
    handle.gate.enter([&] { handle.manager.finish(handle.manager.requests().admitted_row(int_argument(row, "row"))); });
    Py_RETURN_NONE;
  });
}

py::object fork(ManagerHandle& handle, std::int64_t row, std::uint64_t request, std::int64_t now_ns) {
  return decision_object(
      handle.gate.enter([&] { return handle.manager.fork(handle.manager.requests().admitted_row(row), RequestKey{request}, now_ns); }));
}

py::object resume(ManagerHandle& handle, std::int64_t row, std::int64_t now_ns) {
  return decision_object(handle.gate.enter([&] { return handle.manager.resume(handle.manager.requests().admitted_row(row), now_ns); }));
}

void preempt(ManagerHandle& handle, std::int64_t row) {
  handle.gate.enter([&] { handle.manager.preempt(handle.manager.requests().admitted_row(row)); });
}

void rewind(ManagerHandle& handle, std::int64_t row, std::int64_t num_tokens) {
  handle.gate.enter([&] {
    RKV_REQUIRE(num_tokens >= 0 && num_tokens <= UINT32_MAX, "num_tokens=", num_tokens, " must be >= 0");
    handle.manager.rewind(handle.manager.requests().admitted_row(row), static_cast<std::uint32_t>(num_tokens));
  });
}

py::array_t<std::int32_t> request_tokens(ManagerHandle& handle, std::int64_t number) {
  return handle.gate.enter([&] {
    Row const& row = handle.manager.requests().row(handle.manager.requests().admitted_row(number));
    return copied(std::span<std::int32_t const>(row.tokens, row.num_known));
  });
}

py::array_t<std::int32_t> request_blocks(ManagerHandle& handle, std::int64_t number) {
  return handle.gate.enter([&] {
    RequestTable const& requests = handle.manager.requests();
    return numbers_of<std::int32_t, BlockId>(requests.request(requests.admitted_row(number)).blocks);
  });
}

// A struct sequence: fields are read without a Python-level property, and every admission reads four of them.
PyTypeObject* decision_type() {
  static PyStructSequence_Field fields[] = {
      {"outcome", "ADMITTED, DEFERRED, REFUSED, CAPACITY_REQUIRED or DEADLINE_DUE"},
      {"row", "of the request, -1 unless admitted"},
      {"num_cached_tokens", "where prefill starts"},
      {"peak_blocks", "|A(r)|"},
      {"new_blocks", "to take now"},
      {"available_blocks", "available(r)"},
      {"protected_blocks", "|P|"},
      {"protected_union_peak_blocks", "|P u A(r)|"},
      {"resident_plus_active_blocks", "|P u held u A(r)|"},
      {"num_filled_blocks", "reserved nodes the request fills"},
      {nullptr, nullptr},
  };
  static PyStructSequence_Desc description{"residentkv._core.Decision", "Numbers of one admission; csrc/manager/decision.hpp.", fields, 10};
  static PyTypeObject* const type = PyStructSequence_NewType(&description);
  return type;
}

}  // namespace

py::object decision_object(Decision const& decision) {
  std::array<std::int64_t, 10> const values{
      static_cast<std::int64_t>(decision.outcome),
      decision.row == kNoRow ? -1 : static_cast<std::int64_t>(index_of(decision.row)),
      decision.num_cached_tokens,
      decision.peak_blocks,
      decision.new_blocks,
      decision.available_blocks,
      decision.protected_blocks,
      decision.protected_union_peak_blocks,
      decision.resident_plus_active_blocks,
      decision.num_filled_blocks,
  };
  auto object = py::reinterpret_steal<py::object>(PyStructSequence_New(decision_type()));
  if (!object) throw py::error_already_set();
  for (std::size_t i = 0; i < values.size(); ++i) {
    PyStructSequence_SetItem(object.ptr(), static_cast<Py_ssize_t>(i), py::int_(values[i]).release().ptr());
  }
  return object;
}

void bind_requests(py::module_& module, py::class_<ManagerHandle>& manager) {
  module.attr("ADMITTED") = static_cast<int>(Outcome::kAdmitted);
  module.attr("DEFERRED") = static_cast<int>(Outcome::kDeferred);
  module.attr("REFUSED") = static_cast<int>(Outcome::kRefused);
  module.attr("CAPACITY_REQUIRED") = static_cast<int>(Outcome::kCapacityRequired);
  module.attr("DEADLINE_DUE") = static_cast<int>(Outcome::kDeadlineDue);

  module.attr("Decision") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(decision_type()));
  py::class_<RequestFacts>(module, "RequestFacts", "Where one request stands; csrc/manager/request_table.hpp.")
      .def_readonly("request", &RequestFacts::request)
      .def_readonly("num_known_tokens", &RequestFacts::num_known_tokens)
      .def_readonly("num_committed_tokens", &RequestFacts::num_committed_tokens)
      .def_readonly("num_written_tokens", &RequestFacts::num_written_tokens)
      .def_readonly("num_planned_tokens", &RequestFacts::num_planned_tokens)
      .def_readonly("num_blocks", &RequestFacts::num_blocks)
      .def_readonly("peak_blocks", &RequestFacts::peak_blocks)
      .def_readonly("status", &RequestFacts::status);

  static PyMethodDef fast_methods[] = {
      {"admit", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&admit)), METH_FASTCALL, nullptr},
      {"finish", &finish, METH_O, nullptr},
  };
  for (PyMethodDef& method : fast_methods) add_fast_method(manager, method);
  manager.def("fork", &fork, py::arg("row"), py::arg("request"), py::arg("now_ns"));
  manager.def("preempt", &preempt, py::arg("row"));
  manager.def("resume", &resume, py::arg("row"), py::arg("now_ns"));
  manager.def("rewind", &rewind, py::arg("row"), py::arg("num_tokens"));
  manager.def("request_facts", &request_facts, py::arg("row"));
  manager.def("request_tokens", &request_tokens, py::arg("row"));
  manager.def("request_blocks", &request_blocks, py::arg("row"));
}

}  // namespace residentkv::bindings
