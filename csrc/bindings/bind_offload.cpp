#include "bindings/manager_handle.hpp"

namespace residentkv::bindings {

namespace {

std::vector<ClaimId> claim_ids(py::array_t<std::uint32_t, py::array::c_style> const& numbers) {
  std::vector<ClaimId> claims;
  for (py::ssize_t i = 0; i < numbers.size(); ++i) claims.push_back(ClaimId{numbers.data()[i]});
  return claims;
}

py::array_t<bool> can_offload(ManagerHandle& handle, py::array_t<std::uint32_t, py::array::c_style> const& claims) {
  return handle.gate.enter([&] {
    std::vector<bool> const answers = handle.manager.can_offload(claim_ids(claims));
    py::array_t<bool> result(static_cast<py::ssize_t>(answers.size()));
    for (std::size_t i = 0; i < answers.size(); ++i) result.mutable_data()[i] = answers[i];
    return result;
  });
}

std::uint32_t needed_restore(ManagerHandle& handle, std::int64_t root, py::handle tokens, py::handle extra_keys) {
  return handle.gate.enter([&] {
    InternedExtras const extras(handle.manager.ledger().index().extra_keys(), extra_keys);
    Content const content{.root = root_of(root), .tokens = token_span(tokens), .extras = extras.ids()};
    return index_of(handle.manager.needed_restore(content));
  });
}

// [num_blocks, 2] int32: position in the footprint, block id.
py::array_t<std::int32_t> copy_blocks(ManagerHandle& handle, std::uint32_t copy) {
  return handle.gate.enter([&] {
    std::vector<HeldCopy::Entry> const& entries = handle.manager.copy(CopyId{copy}).entries;
    py::array_t<std::int32_t> array({static_cast<py::ssize_t>(entries.size()), py::ssize_t{2}});
    for (std::size_t i = 0; i < entries.size(); ++i) {
      array.mutable_data()[2 * i] = static_cast<std::int32_t>(entries[i].position);
      array.mutable_data()[2 * i + 1] = static_cast<std::int32_t>(index_of(entries[i].block));
    }
    return array;
  });
}

}  // namespace

void bind_offload(py::module_& module, py::class_<ManagerHandle>& manager) {
  module.attr("RESTORE_STARTED") = static_cast<int>(RestoreOutcome::kStarted);
  module.attr("RESTORE_NO_ROOM") = static_cast<int>(RestoreOutcome::kNoRoom);
  module.attr("RESTORE_BUSY") = static_cast<int>(RestoreOutcome::kBusy);
  module.attr("RESTORE_DEADLINE_DUE") = static_cast<int>(RestoreOutcome::kDeadlineDue);
  module.attr("CAUSE_OFFLOADED") = BlockLedger::kOffloadedCause;

  py::class_<RestoreAnswer>(module, "RestoreAnswer", "Answer to begin_restore; csrc/manager/block_manager.hpp.")
      .def_property_readonly("outcome", [](RestoreAnswer const& a) { return static_cast<int>(a.outcome); })
      .def_property_readonly("copy", [](RestoreAnswer const& a) { return index_of(a.copy); })
      .def_readonly("sequence", &RestoreAnswer::sequence);

  manager.def("can_offload", &can_offload, py::arg("claims"));
  manager.def(
      "begin_offload",
      [](ManagerHandle& handle, std::uint32_t claim) {
        return handle.gate.enter([&] { return index_of(handle.manager.begin_offload(ClaimId{claim})); });
      },
      py::arg("claim"));
  manager.def(
      "finish_offload",
      [](ManagerHandle& handle, std::uint32_t copy, std::int64_t now_ns) {
        return handle.gate.enter([&] { return handle.manager.finish_offload(CopyId{copy}, now_ns); });
      },
      py::arg("copy"), py::arg("now_ns"));
  manager.def("needed_restore", &needed_restore, py::arg("root"), py::arg("tokens"), py::arg("extra_keys"));
  manager.def(
      "begin_restore",
      [](ManagerHandle& handle, std::uint32_t claim, std::uint32_t num_restorable, std::uint32_t max_protected_blocks,
         std::int64_t now_ns) {
        return handle.gate.enter(
            [&] { return handle.manager.begin_restore(ClaimId{claim}, num_restorable, max_protected_blocks, now_ns); });
      },
      py::arg("claim"), py::arg("num_restorable"), py::arg("max_protected_blocks"), py::arg("now_ns"));
  manager.def(
      "finish_restore",
      [](ManagerHandle& handle, std::uint32_t copy, std::uint32_t num_good, std::int64_t now_ns) {
        return handle.gate.enter([&] { return handle.manager.finish_restore(CopyId{copy}, num_good, now_ns); });
      },
      py::arg("copy"), py::arg("num_good"), py::arg("now_ns"));
  manager.def(
      "drop_copy", [](ManagerHandle& handle, std::uint32_t copy) { handle.gate.enter([&] { handle.manager.drop_copy(CopyId{copy}); }); },
      py::arg("copy"));
  manager.def("copy_blocks", &copy_blocks, py::arg("copy"));
  manager.def(
      "harm_claim",
      [](ManagerHandle& handle, std::uint32_t claim, std::uint16_t cause, std::int64_t now_ns) {
        return handle.gate.enter([&] { return handle.manager.harm_claim(ClaimId{claim}, cause, now_ns); });
      },
      py::arg("claim"), py::arg("cause"), py::arg("now_ns"));
  manager.def(
      "reuses",
      [](ManagerHandle& handle, std::int64_t row, std::uint32_t claim) {
        return handle.gate.enter([&] { return handle.manager.reuses(handle.manager.requests().admitted_row(row), ClaimId{claim}); });
      },
      py::arg("row"), py::arg("claim"));
}

}  // namespace residentkv::bindings
