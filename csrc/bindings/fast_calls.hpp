#pragma once
// The calls of a serving loop, as plain C functions. pybind11's dispatcher costs a few hundred nanoseconds a call, which is most of what
// such a call takes; these cost tens. They are positional only, and otherwise like any other method.
//
// Source of the calling convention: PEP 590 (METH_FASTCALL); PyDescr_NewMethod puts a C function into an existing type.
#include <pybind11/pybind11.h>

#include "bindings/manager_handle.hpp"

namespace residentkv::bindings {

// The object behind `self`. Method descriptors check the type of self, and a class with one base and a unique_ptr holder keeps its pointer
// first.
inline ManagerHandle& handle_of(PyObject* self) {
  return *static_cast<ManagerHandle*>(reinterpret_cast<py::detail::instance*>(self)->simple_value_holder[0]);
}

inline std::int64_t int_argument(PyObject* object, char const* what) {
  std::int64_t const value = PyLong_AsLongLong(object);
  if (value == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    detail::raise<ContractError>(what, " must be an int of at most 64 bits");
  }
  return value;
}

// Runs `body` and turns what it throws into a Python error.
template <typename Body>
PyObject* call(Body&& body) noexcept {
  try {
    return body();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (...) {
    py::detail::try_translate_exceptions();
  }
  return nullptr;
}

template <std::size_t kCount>
void expect_arguments(Py_ssize_t count, char const* usage) {
  if (count != static_cast<Py_ssize_t>(kCount)) throw py::type_error(usage);
}

// Adds `function` to `type` under `method.ml_name`.  REQUIRES: `method` lives as long as the module.
inline void add_fast_method(py::class_<ManagerHandle>& type, PyMethodDef& method) {
  auto* const type_object = reinterpret_cast<PyTypeObject*>(type.ptr());
  auto const descriptor = py::reinterpret_steal<py::object>(PyDescr_NewMethod(type_object, &method));
  if (!descriptor) throw py::error_already_set();
  type.attr(method.ml_name) = descriptor;
}

}  // namespace residentkv::bindings
