// residentkv._core: lists of names. Contracts are in the headers the names come from.
#include "bindings/manager_handle.hpp"
#include "core/device_error.hpp"

namespace residentkv::bindings {

namespace {

// Native errors surface as the classes of residentkv.contract.errors. The classes are kept for good: when static objects are destroyed
// there is no interpreter any more.
void register_errors() {
  auto const named = [](char const* name) {
    return py::module_::import("residentkv.contract.errors").attr(name).cast<py::object>().release();
  };
  static py::handle const contract_error = named("ContractError");
  static py::handle const invariant_error = named("InvariantError");
  static py::handle const device_error = named("DeviceError");
  static py::handle const pinned_host_error = named("PinnedHostError");
  static py::handle const out_of_device_memory = named("OutOfDeviceMemory");
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (ContractError const& error) {
      py::set_error(contract_error, error.what());
    } catch (InvariantError const& error) {
      py::set_error(invariant_error, error.what());
    } catch (OutOfDeviceMemory const& error) {
      py::set_error(out_of_device_memory, py::int_(error.num_bytes()));
    } catch (PinnedHostError const& error) {
      py::set_error(pinned_host_error, error.what());
    } catch (DeviceError const& error) {
      py::set_error(device_error, error.what());
    }
  });
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "Native block manager of residentkv; see csrc/manager/block_manager.hpp.";
  register_errors();
  py::class_<ManagerHandle> manager(module, "BlockManager", "Requests over a fixed pool of KV blocks; csrc/manager/block_manager.hpp.");
  manager.def(py::init([](std::uint32_t usable_blocks, std::uint32_t block_size, bool null_block, std::uint32_t max_requests,
                          std::uint32_t max_blocks_per_request, std::uint64_t hash_seed, bool block_events, bool retain_events) {
                return std::make_unique<ManagerHandle>(BlockManager::Options{.usable_blocks = usable_blocks,
                                                                             .block_size = block_size,
                                                                             .null_block = null_block,
                                                                             .max_requests = max_requests,
                                                                             .max_blocks_per_request = max_blocks_per_request,
                                                                             .hash_seed = hash_seed,
                                                                             .block_events = block_events,
                                                                             .retain_events = retain_events});
              }),
              py::kw_only(), py::arg("usable_blocks"), py::arg("block_size"), py::arg("null_block"), py::arg("max_requests"),
              py::arg("max_blocks_per_request"), py::arg("hash_seed"), py::arg("block_events"), py::arg("retain_events"));
  bind_requests(module, manager);
  bind_steps(module, manager);
  bind_claims(module, manager);
  bind_offload(module, manager);
  bind_events(module, manager);
  bind_watch(module, manager);
  bind_copy(module);
  bind_tier(module);
  bind_cuda(module);
}

}  // namespace residentkv::bindings
