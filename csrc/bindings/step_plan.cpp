#include "bindings/step_plan.hpp"

#include <algorithm>
#include <memory>
#include <new>
#include <optional>

#include "bindings/fast_calls.hpp"

namespace residentkv::bindings {

namespace {

// One planned step, as arrays. They are views of the manager's rotating sets, or of the caller's buffers.
class StepPlan {
 public:
  StepPlan(py::object manager, py::object out, PlannedStep planned)
      : manager_(std::move(manager)), out_(std::move(out)), planned_(planned) {}

  [[nodiscard]] std::uint64_t step_id() const noexcept { return index_of(planned_.step); }
  [[nodiscard]] std::uint32_t num_tokens() const noexcept { return planned_.num_tokens; }
  [[nodiscard]] py::object rows() const { return view<1>(set().rows.data(), {planned_.num_rows}, manager_); }
  [[nodiscard]] py::object context_lens() const { return view<1>(set().context_lens.data(), {planned_.num_rows}, manager_); }
  [[nodiscard]] py::object slot_mapping() const {
    if (!out_.is_none()) return view<1>(target().slot_mapping, {planned_.num_tokens}, out_);
    return view<1>(set().slot_mapping.data(), {planned_.num_tokens}, manager_);
  }
  [[nodiscard]] py::object block_table() const {
    if (!out_.is_none()) {
      return view<2>(target().block_table, {planned_.num_rows, static_cast<py::ssize_t>(target().width)}, out_);
    }
    StepBuffers::Options const& options = handle().manager.buffers().options();
    return view<2>(set().block_table.data(), {options.max_requests, options.max_blocks_per_request}, manager_);
  }
  [[nodiscard]] py::object copies() const {
    std::vector<BlockCopy> const& copies = set().copies;
    static_assert(sizeof(BlockCopy) == 2 * sizeof(std::int32_t));
    return py::array_t<std::int32_t>(std::vector<py::ssize_t>{static_cast<py::ssize_t>(copies.size()), 2},
                                     reinterpret_cast<std::int32_t const*>(copies.data()));
  }
  [[nodiscard]] py::object kv_indptr() { return pages().indptr; }
  [[nodiscard]] py::object kv_indices() { return pages().indices; }
  [[nodiscard]] py::object kv_last_page_len() { return pages().last_page_len; }

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

// The Python object. A plain C type, because a decode step makes one and reads three of its attributes: pybind11 would spend more time on
// these than the core does on planning.
struct StepPlanObject {
  PyObject_HEAD;
  alignas(StepPlan) std::byte plan[sizeof(StepPlan)];
};

StepPlan& plan_of(PyObject* self) noexcept {
  return *std::launder(reinterpret_cast<StepPlan*>(reinterpret_cast<StepPlanObject*>(self)->plan));
}

py::object to_object(py::object array) { return array; }
py::object to_object(std::uint64_t number) { return py::int_(number); }

template <auto kGet>
PyObject* get(PyObject* self, void* /*closure*/) noexcept {
  return call([&] { return to_object((plan_of(self).*kGet)()).release().ptr(); });
}

void deallocate(PyObject* self) noexcept {
  PyTypeObject* const type = Py_TYPE(self);
  std::destroy_at(&plan_of(self));
  PyObject_Free(self);
  Py_DECREF(type);
}

PyTypeObject* step_plan_type() {
  static PyGetSetDef fields[] = {
      {"step_id", &get<&StepPlan::step_id>, nullptr, nullptr, nullptr},
      {"num_tokens", &get<&StepPlan::num_tokens>, nullptr, nullptr, nullptr},
      {"rows", &get<&StepPlan::rows>, nullptr, nullptr, nullptr},
      {"block_table", &get<&StepPlan::block_table>, nullptr, nullptr, nullptr},
      {"slot_mapping", &get<&StepPlan::slot_mapping>, nullptr, nullptr, nullptr},
      {"context_lens", &get<&StepPlan::context_lens>, nullptr, nullptr, nullptr},
      {"copies", &get<&StepPlan::copies>, nullptr, nullptr, nullptr},
      {"kv_indptr", &get<&StepPlan::kv_indptr>, nullptr, nullptr, nullptr},
      {"kv_indices", &get<&StepPlan::kv_indices>, nullptr, nullptr, nullptr},
      {"kv_last_page_len", &get<&StepPlan::kv_last_page_len>, nullptr, nullptr, nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr},
  };
  static PyType_Slot slots[] = {
      {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate)},
      {Py_tp_getset, fields},
      {Py_tp_doc, const_cast<char*>("One planned step; csrc/manager/step_buffers.hpp.")},
      {0, nullptr},
  };
  static PyType_Spec spec{.name = "residentkv._core.StepPlan",
                          .basicsize = sizeof(StepPlanObject),
                          .itemsize = 0,
                          .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                          .slots = slots};
  static PyObject* const type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

py::object step_plan(py::object manager, py::object out, PlannedStep planned) {
  auto object = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyObject_New(StepPlanObject, step_plan_type())));
  if (!object) throw py::error_already_set();
  ::new (reinterpret_cast<StepPlanObject*>(object.ptr())->plan) StepPlan(std::move(manager), std::move(out), planned);
  return object;
}

void bind_step_plan(py::module_& module) {
  module.attr("StepPlan") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(step_plan_type()));
}

}  // namespace residentkv::bindings
