#pragma once
// What Python holds: the manager and its gate.
#include <memory>
#include <string>
#include <vector>

#include "bindings/arrays.hpp"
#include "manager/block_manager.hpp"
#include "manager/conflict.hpp"
#include "manager/gate.hpp"

namespace residentkv::bindings {

struct ManagerHandle {
  explicit ManagerHandle(BlockManager::Options const& options) : manager(options) {}
  Gate gate;
  BlockManager manager;
};

// Extra keys of one call, interned for its duration: nodes and requests take references of their own.
class InternedExtras {
 public:
  InternedExtras(ExtraKeys& keys, py::handle extra_keys) : keys_(keys) {
    if (extra_keys.is_none()) return;
    RKV_REQUIRE(py::isinstance<py::sequence>(extra_keys), "extra_keys must be None or a sequence of bytes or None, one per block");
    for (py::handle const key : extra_keys) {  // all of them first: a constructor that throws releases nothing
      RKV_REQUIRE(key.is_none() || py::isinstance<py::bytes>(key), "extra_keys holds bytes or None per block");
    }
    for (py::handle const key : extra_keys) {
      ids_.push_back(key.is_none() ? kNoExtra : keys_.intern(py::reinterpret_borrow<py::bytes>(key)));
    }
  }
  ~InternedExtras() {
    for (ExtraId const id : ids_) keys_.release(id);
  }
  InternedExtras(InternedExtras const&) = delete;
  InternedExtras& operator=(InternedExtras const&) = delete;
  [[nodiscard]] std::span<ExtraId const> ids() const noexcept { return ids_; }

 private:
  ExtraKeys& keys_;
  std::vector<ExtraId> ids_;
};

inline RootId root_of(std::int64_t number) {
  RKV_REQUIRE(number >= 0 && number < INT32_MAX, "root ", number, " must be between 0 and 2^31 - 2");
  return RootId{static_cast<std::uint32_t>(number)};
}

// Tokens of one chain.  THROWS: ContractError for negative ids.
inline std::span<std::int32_t const> token_span(py::handle tokens) {
  std::span<std::int32_t const> const span = int32_span(tokens, "tokens");
  std::int32_t any = 0;
  for (std::int32_t const token : span) any |= token;
  RKV_REQUIRE(any >= 0, "token ids must be >= 0");
  return span;
}

py::object decision_object(Decision const& decision);
EventKind event_kind(std::string const& name);  // THROWS: ContractError for an unknown name

void bind_requests(py::module_& module, py::class_<ManagerHandle>& manager);
void bind_steps(py::module_& module, py::class_<ManagerHandle>& manager);
void bind_claims(py::module_& module, py::class_<ManagerHandle>& manager);
void bind_offload(py::module_& module, py::class_<ManagerHandle>& manager);
void bind_events(py::module_& module, py::class_<ManagerHandle>& manager);
void bind_watch(py::module_& module, py::class_<ManagerHandle>& manager);
void bind_copy(py::module_& module);
void bind_tier(py::module_& module);
void bind_cuda(py::module_& module);

}  // namespace residentkv::bindings
