#include <pybind11/stl.h>

#include "bindings/manager_handle.hpp"

namespace residentkv::bindings {

namespace {

// Conflict keeps a reference into the manager, so it keeps the manager alive.
struct ConflictHandle {
  py::object manager;
  std::unique_ptr<Conflict> conflict;
};

struct ClaimFacts {
  std::size_t footprint_blocks;
  std::uint32_t surviving_blocks;
  std::uint32_t leading_blocks;
  std::uint32_t predicate_blocks;
  bool predicate_true;
};

Moment deadline_of(std::int64_t step, std::int64_t allocations, std::int64_t now_ns) {
  auto const or_never = [](std::int64_t value) { return value < 0 ? Moment::kNever : value; };
  return {.step = or_never(step), .allocations = or_never(allocations), .now_ns = or_never(now_ns)};
}

ClaimAnswer accept_claim(ManagerHandle& handle, std::int64_t root, py::handle tokens, py::handle extra_keys, std::uint32_t footprint_blocks,
                         std::uint32_t predicate_start, std::uint32_t predicate_blocks, int mode, std::uint32_t max_protected_blocks,
                         std::int64_t deadline_step, std::int64_t deadline_allocations, std::int64_t deadline_ns, std::int64_t now_ns) {
  return handle.gate.enter([&] {
    std::span<std::int32_t const> const span = token_span(tokens);
    std::size_t const needed = std::size_t{footprint_blocks} * handle.manager.options().block_size;
    RKV_REQUIRE(needed <= span.size(), "footprint_blocks=", footprint_blocks, " needs ", needed, " tokens, got ", span.size());
    RKV_REQUIRE(mode >= 0 && mode <= static_cast<int>(ClaimMode::kBestEffort), "mode ", mode, " is unknown");
    RKV_REQUIRE(predicate_blocks > 0 && predicate_blocks <= footprint_blocks && predicate_start <= footprint_blocks - predicate_blocks,
                "the predicate needs ", predicate_blocks, " blocks from ", predicate_start, " on, the footprint has ", footprint_blocks);
    InternedExtras const extras(handle.manager.ledger().index().extra_keys(), extra_keys);
    std::size_t const num_extras = std::min<std::size_t>(extras.ids().size(), footprint_blocks);
    return handle.manager.accept_claim(
        {.content = {.root = root_of(root), .tokens = span.first(needed), .extras = extras.ids().first(num_extras)},
         .predicate_start = predicate_start,
         .predicate_end = predicate_start + predicate_blocks,
         .mode = static_cast<ClaimMode>(mode),
         .max_protected_blocks = max_protected_blocks,
         .deadline = deadline_of(deadline_step, deadline_allocations, deadline_ns)},
        now_ns);
  });
}

std::uint64_t end_claim(ManagerHandle& handle, std::uint32_t claim, std::string const& event_kind_name, std::int64_t now_ns) {
  return handle.gate.enter([&] { return handle.manager.end_claim(ClaimId{claim}, event_kind(event_kind_name), now_ns); });
}

void set_deadline(ManagerHandle& handle, std::uint32_t claim, std::int64_t step, std::int64_t allocations, std::int64_t now_ns) {
  handle.gate.enter([&] {
    static_cast<void>(handle.manager.live_region(ClaimId{claim}));
    handle.manager.ledger().deadlines().set(ClaimId{claim}, deadline_of(step, allocations, now_ns));
  });
}

ClaimFacts claim_facts(ManagerHandle& handle, std::uint32_t claim) {
  return handle.gate.enter([&] {
    Region const& region = handle.manager.live_region(ClaimId{claim});
    Survival const survival = handle.manager.ledger().survival(region);
    return ClaimFacts{.footprint_blocks = region.nodes.size(),
                      .surviving_blocks = survival.num_surviving,
                      .leading_blocks = survival.num_leading,
                      .predicate_blocks = region.predicate_end,
                      .predicate_true = region.predicate_true};
  });
}

py::array_t<std::int32_t> claim_blocks(ManagerHandle& handle, std::uint32_t claim) {
  return handle.gate.enter([&] {
    Region const& region = handle.manager.live_region(ClaimId{claim});
    std::vector<BlockId> blocks;
    for (NodeId const node : region.nodes) blocks.push_back(node == kNoNode ? kNoBlock : handle.manager.ledger().index().block(node));
    return numbers_of<std::int32_t, BlockId>(blocks);
  });
}

ConflictHandle conflict(py::object const& self, std::int64_t root, py::handle tokens, std::int64_t max_new_tokens, py::handle extra_keys) {
  ManagerHandle& handle = self.cast<ManagerHandle&>();
  return handle.gate.enter([&] {
    std::span<std::int32_t const> const span = token_span(tokens);
    RKV_REQUIRE(!span.empty(), "a request needs at least one token");
    InternedExtras const extras(handle.manager.ledger().index().extra_keys(), extra_keys);
    Demand const demand = handle.manager.demand_of(Content{.root = root_of(root), .tokens = span, .extras = extras.ids()}, max_new_tokens);
    return ConflictHandle{.manager = self, .conflict = std::make_unique<Conflict>(handle.manager, demand)};
  });
}

ConflictHandle conflict_of_row(py::object const& self, std::int64_t row, std::uint32_t num_tokens) {
  ManagerHandle& handle = self.cast<ManagerHandle&>();
  return handle.gate.enter([&] {
    RowId const id = handle.manager.requests().admitted_row(row);
    return ConflictHandle{.manager = self, .conflict = std::make_unique<Conflict>(handle.manager, id, num_tokens)};
  });
}

ConflictHandle conflict_of_fork(py::object const& self, std::int64_t parent) {
  ManagerHandle& handle = self.cast<ManagerHandle&>();
  return handle.gate.enter([&] {
    Conflict::ForkOf const fork{handle.manager.requests().admitted_row(parent)};
    return ConflictHandle{.manager = self, .conflict = std::make_unique<Conflict>(handle.manager, fork)};
  });
}

py::array_t<std::uint32_t> sufficient(ConflictHandle const& self, py::array_t<std::uint32_t, py::array::c_style> const& order) {
  return self.manager.cast<ManagerHandle&>().gate.enter([&] {
    std::vector<ClaimId> claims;
    for (py::ssize_t i = 0; i < order.size(); ++i) claims.push_back(ClaimId{order.data()[i]});
    std::vector<ClaimId> const needed = self.conflict->sufficient(claims);
    return numbers_of<std::uint32_t, ClaimId>(needed);
  });
}

}  // namespace

void bind_claims(py::module_& module, py::class_<ManagerHandle>& manager) {
  module.attr("NO_CLAIM") = index_of(kNoClaim);
  module.attr("NO_REQUEST") = index_of(kNoRequest);
  module.attr("MODE_PROTECTING") = static_cast<int>(ClaimMode::kProtecting);
  module.attr("MODE_SOFT") = static_cast<int>(ClaimMode::kSoft);
  module.attr("MODE_BEST_EFFORT") = static_cast<int>(ClaimMode::kBestEffort);
  module.attr("CLAIM_ACCEPTED") = static_cast<int>(ClaimOutcome::kAccepted);
  module.attr("CLAIM_NO_CAPACITY") = static_cast<int>(ClaimOutcome::kNoCapacity);
  module.attr("CLAIM_OVER_BUDGET") = static_cast<int>(ClaimOutcome::kOverBudget);

  py::class_<ClaimAnswer>(module, "ClaimAnswer", "Answer to accept_claim; csrc/manager/block_manager.hpp.")
      .def_property_readonly("outcome", [](ClaimAnswer const& a) { return static_cast<int>(a.outcome); })
      .def_property_readonly("claim", [](ClaimAnswer const& a) { return index_of(a.claim); })
      .def_readonly("materialized", &ClaimAnswer::materialized)
      .def_readonly("protected_blocks", &ClaimAnswer::protected_blocks)
      .def_readonly("protected_union_held_blocks", &ClaimAnswer::protected_union_held_blocks)
      .def_readonly("largest_union_blocks", &ClaimAnswer::largest_union_blocks);
  py::class_<ClaimFacts>(module, "ClaimFacts", "How much of a live claim is computed, in blocks.")
      .def_readonly("footprint_blocks", &ClaimFacts::footprint_blocks)
      .def_readonly("surviving_blocks", &ClaimFacts::surviving_blocks)
      .def_readonly("leading_blocks", &ClaimFacts::leading_blocks)
      .def_readonly("predicate_blocks", &ClaimFacts::predicate_blocks)
      .def_readonly("predicate_true", &ClaimFacts::predicate_true);
  py::class_<ClaimNotice>(module, "ClaimNotice", "A claim's transition that no caller asked for.")
      .def_property_readonly("claim", [](ClaimNotice const& n) { return index_of(n.claim); })
      .def_property_readonly("kind", [](ClaimNotice const& n) { return kEventNames[static_cast<std::size_t>(n.kind)]; });
  py::class_<ConflictHandle>(module, "Conflict", "Which claims stand in the way of one demand; csrc/manager/conflict.hpp.")
      .def_property_readonly("decision", [](ConflictHandle const& c) { return decision_object(c.conflict->decision()); })
      .def_property_readonly("claims", [](ConflictHandle const& c) { return numbers_of<std::uint32_t, ClaimId>(c.conflict->claims()); })
      .def_property_readonly("blocks", [](ConflictHandle const& c) { return copied(c.conflict->blocks()); })
      .def("sufficient", &sufficient, py::arg("order"));

  manager.def("accept_claim", &accept_claim, py::kw_only(), py::arg("root"), py::arg("tokens"), py::arg("extra_keys"),
              py::arg("footprint_blocks"), py::arg("predicate_start"), py::arg("predicate_blocks"), py::arg("mode"),
              py::arg("max_protected_blocks"), py::arg("deadline_step"), py::arg("deadline_allocations"), py::arg("deadline_ns"),
              py::arg("now_ns"));
  manager.def("end_claim", &end_claim, py::arg("claim"), py::arg("event_kind"), py::arg("now_ns"));
  manager.def("set_deadline", &set_deadline, py::arg("claim"), py::arg("deadline_step"), py::arg("deadline_allocations"),
              py::arg("deadline_ns"));
  manager.def("due_claims", [](ManagerHandle& handle) {
    return handle.gate.enter([&] { return numbers_of<std::uint32_t, ClaimId>(handle.manager.due_claims()); });
  });
  manager.def("claim_facts", &claim_facts, py::arg("claim"));
  manager.def("claim_blocks", &claim_blocks, py::arg("claim"));
  manager.def("take_claim_notices",
              [](ManagerHandle& handle) { return handle.gate.enter([&] { return handle.manager.ledger().take_notices(); }); });
  manager.def("conflict", &conflict, py::arg("root"), py::arg("tokens"), py::arg("max_new_tokens"), py::arg("extra_keys"));
  manager.def("conflict_of_fork", &conflict_of_fork, py::arg("row"));
  manager.def("conflict_of_row", &conflict_of_row, py::arg("row"), py::arg("num_tokens"));
}

}  // namespace residentkv::bindings
