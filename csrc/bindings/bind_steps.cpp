#include <variant>

#include "bindings/fast_calls.hpp"
#include "bindings/manager_handle.hpp"

namespace residentkv::bindings {

namespace {

// A caller's arrays for plan_step, checked once.
class CallerBuffers {
 public:
  CallerBuffers(py::array block_table, py::array slot_mapping)
      : block_table_(std::move(block_table)), slot_mapping_(std::move(slot_mapping)) {
    auto const is_int32 = [](py::array const& array, py::ssize_t dimensions) {
      return array.dtype().num() == py::detail::npy_api::NPY_INT_ && array.ndim() == dimensions && array.writeable() &&
             (array.flags() & py::array::c_style) != 0;
    };
    RKV_REQUIRE(is_int32(block_table_, 2), "block_table must be a writable C-contiguous int32 array of [rows, width]");
    RKV_REQUIRE(is_int32(slot_mapping_, 1), "slot_mapping must be a writable C-contiguous int32 array of [tokens]");
    target_ = {.block_table = static_cast<std::int32_t*>(block_table_.mutable_data()),
               .num_rows = static_cast<std::size_t>(block_table_.shape(0)),
               .width = static_cast<std::size_t>(block_table_.shape(1)),
               .slot_mapping = static_cast<std::int32_t*>(slot_mapping_.mutable_data()),
               .num_tokens = static_cast<std::size_t>(slot_mapping_.shape(0))};
  }
  [[nodiscard]] StepTarget const& target() const noexcept { return target_; }

 private:
  py::array block_table_;
  py::array slot_mapping_;
  StepTarget target_;
};

// One planned step, as arrays. They are views of the manager's rotating sets, or of the caller's buffers.
class StepPlan {
 public:
  StepPlan(py::object manager, py::object out, PlannedStep planned)
      : manager_(std::move(manager)), out_(std::move(out)), planned_(planned) {}

  [[nodiscard]] std::uint64_t step_id() const noexcept { return index_of(planned_.step); }
  [[nodiscard]] std::uint32_t num_tokens() const noexcept { return planned_.num_tokens; }
  [[nodiscard]] py::array rows() const { return view(set().rows.data(), {planned_.num_rows}, manager_); }
  [[nodiscard]] py::array context_lens() const { return view(set().context_lens.data(), {planned_.num_rows}, manager_); }
  [[nodiscard]] py::array slot_mapping() const {
    if (!out_.is_none()) return view(target().slot_mapping, {planned_.num_tokens}, out_);
    return view(set().slot_mapping.data(), {planned_.num_tokens}, manager_);
  }
  [[nodiscard]] py::array block_table() const {
    if (!out_.is_none()) {
      return view(target().block_table, {planned_.num_rows, static_cast<py::ssize_t>(target().width)}, out_);
    }
    StepBuffers::Options const& options = handle().manager.buffers().options();
    return view(set().block_table.data(), {options.max_requests, options.max_blocks_per_request}, manager_);
  }
  [[nodiscard]] py::array copies() const {
    std::vector<BlockCopy> const& copies = set().copies;
    static_assert(sizeof(BlockCopy) == 2 * sizeof(std::int32_t));
    return py::array_t<std::int32_t>(std::vector<py::ssize_t>{static_cast<py::ssize_t>(copies.size()), 2},
                                     reinterpret_cast<std::int32_t const*>(copies.data()));
  }
  [[nodiscard]] py::array kv_indptr() { return pages().indptr; }
  [[nodiscard]] py::array kv_indices() { return pages().indices; }
  [[nodiscard]] py::array kv_last_page_len() { return pages().last_page_len; }

 private:
  struct Pages {
    py::array_t<std::int32_t> indptr;
    py::array_t<std::int32_t> indices;
    py::array_t<std::int32_t> last_page_len;
  };
  [[nodiscard]] ManagerHandle& handle() const { return handle_of(manager_.ptr()); }
  [[nodiscard]] StepTarget const& target() const { return out_.cast<CallerBuffers const&>().target(); }
  [[nodiscard]] StepBuffers::Set const& set() const {
    BlockManager const& manager = handle().manager;
    StepBuffers::Set const& set = manager.buffers().set(step_id());
    RKV_REQUIRE(set.step == step_id(), "the arrays of step ", step_id(), " were given to step ", set.step,
                ": copy what you keep longer than three steps");
    return set;
  }

  // FlashInfer's page table (flashinfer/page.py: kv_indptr, kv_indices, kv_last_page_len), from the block tables of this step.
  [[nodiscard]] Pages const& pages() {
    if (pages_.has_value()) return *pages_;
    StepBuffers::Set const& set = this->set();
    auto const block_size = static_cast<std::int32_t>(handle().manager.options().block_size);
    auto const num_rows = static_cast<py::ssize_t>(planned_.num_rows);
    Pages pages{.indptr = py::array_t<std::int32_t>(num_rows + 1), .indices = {}, .last_page_len = py::array_t<std::int32_t>(num_rows)};
    std::int32_t* const indptr = pages.indptr.mutable_data();
    std::int32_t* const last = pages.last_page_len.mutable_data();
    indptr[0] = 0;
    for (py::ssize_t i = 0; i < num_rows; ++i) {
      std::int32_t const tokens = set.context_lens[static_cast<std::size_t>(i)];
      std::int32_t const num_pages = (tokens + block_size - 1) / block_size;
      indptr[i + 1] = indptr[i] + num_pages;
      last[i] = tokens - (num_pages - 1) * block_size;
    }
    pages.indices = py::array_t<std::int32_t>(indptr[num_rows]);
    std::int32_t* const indices = pages.indices.mutable_data();
    bool const is_rotating = out_.is_none();
    std::int32_t const* const table = is_rotating ? set.block_table.data() : target().block_table;
    std::size_t const width = is_rotating ? handle().manager.options().max_blocks_per_request : target().width;
    for (py::ssize_t i = 0; i < num_rows; ++i) {
      std::size_t const row = static_cast<std::size_t>(is_rotating ? set.rows[static_cast<std::size_t>(i)] : i);
      RKV_REQUIRE(static_cast<std::size_t>(indptr[i + 1] - indptr[i]) <= width, "block_table of out is too narrow for kv_indices: ", width,
                  " entries, the row has ", indptr[i + 1] - indptr[i], " blocks");
      std::copy_n(table + row * width, indptr[i + 1] - indptr[i], indices + indptr[i]);
    }
    pages_ = std::move(pages);
    return *pages_;
  }

  py::object manager_;
  py::object out_;
  PlannedStep planned_;
  std::optional<Pages> pages_;
};

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
      return py::cast(StepPlan(py::reinterpret_borrow<py::object>(self), std::move(out), *planned)).release().ptr();
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
  py::class_<StepPlan>(module, "StepPlan", "One planned step; csrc/manager/step_buffers.hpp.")
      .def_property_readonly("step_id", &StepPlan::step_id)
      .def_property_readonly("num_tokens", &StepPlan::num_tokens)
      .def_property_readonly("rows", &StepPlan::rows)
      .def_property_readonly("block_table", &StepPlan::block_table)
      .def_property_readonly("slot_mapping", &StepPlan::slot_mapping)
      .def_property_readonly("context_lens", &StepPlan::context_lens)
      .def_property_readonly("copies", &StepPlan::copies)
      .def_property_readonly("kv_indptr", &StepPlan::kv_indptr)
      .def_property_readonly("kv_indices", &StepPlan::kv_indices)
      .def_property_readonly("kv_last_page_len", &StepPlan::kv_last_page_len);
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
