#pragma once
// Between numpy arrays and spans. Nothing is converted: the Python side passes int32, and anything else is its mistake.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/check.hpp"

namespace residentkv::bindings {

namespace py = pybind11;

// A one-dimensional C-contiguous int32 array as a span.  THROWS: ContractError naming `what`.
inline std::span<std::int32_t const> int32_span(py::handle object, char const* what) {
  RKV_REQUIRE(py::isinstance<py::array>(object), what, " must be a numpy array of int32");
  auto const array = py::reinterpret_borrow<py::array>(object);
  RKV_REQUIRE(py::detail::array_descriptor_proxy(py::detail::array_proxy(array.ptr())->descr)->type_num == py::detail::npy_api::NPY_INT_ &&
                  array.ndim() == 1 && (array.flags() & py::array::c_style) != 0,
              what, " must be a one-dimensional C-contiguous int32 array, got ", py::str(array.dtype()).cast<std::string>(), " with ",
              array.ndim(), " dimensions");
  return {static_cast<std::int32_t const*>(array.data()), static_cast<std::size_t>(array.size())};
}

inline std::span<std::int32_t const> optional_int32_span(py::handle object, char const* what) {
  return object.is_none() ? std::span<std::int32_t const>() : int32_span(object, what);
}

// A copy of `values` as an array of the same type.
template <typename T>
py::array_t<T> copied(std::span<T const> values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

// Ids as the array of their numbers.
template <typename Number, typename Id>
py::array_t<Number> numbers_of(std::span<Id const> ids) {
  py::array_t<Number> array(static_cast<py::ssize_t>(ids.size()));
  Number* out = array.mutable_data();
  for (std::size_t i = 0; i < ids.size(); ++i) out[i] = static_cast<Number>(static_cast<std::uint32_t>(ids[i]));
  return array;
}

// A view of memory that `owner` keeps alive. Read-only: callers copy before they change anything.
// Straight through numpy's C interface: a decode step takes two of these, and py::array would allocate shape and strides for each.
template <std::size_t kDimensions>
py::object view(std::int32_t const* data, std::array<py::ssize_t, kDimensions> const& shape, py::handle owner) {
  py::detail::npy_api& numpy = py::detail::npy_api::get();
  constexpr int kReadOnly = 0;
  PyObject* const type = numpy.PyArray_DescrFromType_(py::detail::npy_api::NPY_INT_);
  auto array = py::reinterpret_steal<py::object>(numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, type, kDimensions, shape.data(), nullptr,
                                                                             const_cast<std::int32_t*>(data), kReadOnly, nullptr));
  if (!array || numpy.PyArray_SetBaseObject_(array.ptr(), py::reinterpret_borrow<py::object>(owner).release().ptr()) != 0) {
    throw py::error_already_set();
  }
  return array;
}

}  // namespace residentkv::bindings
