#include <variant>

#include "bindings/fast_calls.hpp"
#include "bindings/manager_handle.hpp"
#include "bindings/step_plan.hpp"

namespace residentkv::bindings {

namespace {

// plan_step(rows, num_tokens, now_ns, out=None, /) -> StepPlan | StepShortage
PyObject* plan_step(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return call([&]() -> PyObject* {
    if (count != 3 && count != 4) throw py::type_error("plan_step takes rows, num_tokens, now_ns and perhaps out");
    auto out = py::reinterpret_borrow<py::object>(count == 4 ? arguments[3] : Py_None);
    StepTarget const* const target = out.is_none() ? nullptr : &out.cast<CallerBuffers const&>().target();
    ManagerHandle& handle = handle_of(self);
    std::variant<PlannedStep, Shortage> answer = handle.gate.enter([&] {
      return handle.manager.plan_step(int32_span(arguments[0], "rows"), int32_span(arguments[1], "num_tokens"),
                                      int_argument(arguments[2], "now_ns"), target);
    });
    if (auto* const planned = std::get_if<PlannedStep>(&answer)) {
      return step_plan(py::reinterpret_borrow<py::object>(self), std::move(out), *planned).release().ptr();
    }
    return py::cast(std::get<Shortage>(std::move(answer))).release().ptr();
  });
}

// commit_step(step_id, num_valid, token_ids, /) -> tuple[Replaced, ...]
PyObject* commit_step(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return call([&]() -> PyObject* {
    expect_arguments<3>(count, "commit_step takes step_id, num_valid, token_ids");
    ManagerHandle& handle = handle_of(self);
    std::span<Replaced const> const replaced = handle.gate.enter([&] {
      std::span<std::int32_t const> const valid = optional_int32_span(arguments[1], "num_valid");
      RKV_REQUIRE(arguments[1] == Py_None || !valid.empty(), "num_valid is empty: pass None for all tokens");
      return handle.manager.commit_step(StepId{static_cast<std::uint64_t>(int_argument(arguments[0], "step_id"))}, valid,
                                        optional_int32_span(arguments[2], "token_ids"));
    });
    py::tuple result(replaced.size());
    for (std::size_t i = 0; i < replaced.size(); ++i) result[i] = py::cast(replaced[i]);
    return result.release().ptr();
  });
}

py::tuple fail_step(ManagerHandle& handle, std::uint64_t step_id) {
  return handle.gate.enter([&] {
    std::vector<StepId> const failed = handle.manager.fail_step(StepId{step_id});
    py::tuple result(failed.size());
    for (std::size_t i = 0; i < failed.size(); ++i) result[i] = py::int_(index_of(failed[i]));
    return result;
  });
}

}  // namespace

void bind_steps(py::module_& module, py::class_<ManagerHandle>& manager) {
  py::class_<CallerBuffers>(module, "StepBuffers", "A caller's memory for plan_step; csrc/manager/block_manager.hpp, StepTarget.")
      .def(py::init<py::array, py::array>(), py::kw_only(), py::arg("block_table"), py::arg("slot_mapping"));
  py::class_<Replaced>(module, "Replaced", "A row entry that now names the canonical block of its content.")
      .def_property_readonly("row", [](Replaced const& r) { return index_of(r.row); })
      .def_readonly("index", &Replaced::index)
      .def_property_readonly("old_block", [](Replaced const& r) { return index_of(r.old_block); })
      .def_property_readonly("new_block", [](Replaced const& r) { return index_of(r.new_block); });
  bind_step_plan(module);
  py::class_<Shortage>(module, "StepShortage", "Why plan_step changed nothing.")
      .def_readonly("deadline_due", &Shortage::deadline_due)
      .def_readonly("shortfall", &Shortage::shortfall)
      .def_property_readonly("rows", [](Shortage const& s) { return numbers_of<std::int32_t, RowId>(s.rows); })
      .def_property_readonly("refused_row", [](Shortage const& s) {
        return s.refused_row == kNoRow ? -1 : static_cast<std::int64_t>(index_of(s.refused_row));
      });
  static PyMethodDef fast_methods[] = {
      {"plan_step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&plan_step)), METH_FASTCALL, nullptr},
      {"commit_step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&commit_step)), METH_FASTCALL, nullptr},
  };
  for (PyMethodDef& method : fast_methods) add_fast_method(manager, method);
  manager.def("fail_step", &fail_step, py::arg("step_id"));
}

}  // namespace residentkv::bindings
