#pragma once
// What plan_step answers: one planned step, as arrays. They are views of the manager's rotating sets, or of the caller's buffers.
#include "bindings/manager_handle.hpp"

namespace residentkv::bindings {

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

// A plan of `manager`.  out: the CallerBuffers it was written to, or None.
py::object step_plan(py::object manager, py::object out, PlannedStep planned);

void bind_step_plan(py::module_& module);

}  // namespace residentkv::bindings
