// The entry points: each counts itself, fails when a test said so, checks what CUDA documents, and acts.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "control.hpp"
#include "memory.hpp"
#include "streams.hpp"

struct CUevent_st {
  std::shared_ptr<cuda_emulation::Completion> recorded;  // the most recent record; null before the first
  bool has_timing = false;
};

namespace cuda_emulation {

void refuse(char const* what) {
  std::fprintf(stderr, "cuda_emulation: %s\n", what);
  std::fflush(stderr);
  std::abort();
}

namespace {

struct Fault {
  std::string function;
  std::uint64_t remaining;
  cudaError_t error;
  Lasting lasting;
};

// What the host side of the runtime knows. Streams' own threads never come here.
struct Runtime {
  std::recursive_mutex mutex;
  Options options;
  std::map<std::string, std::uint64_t> calls;
  std::vector<Fault> faults;
  std::optional<cudaError_t> sticky;
  bool has_failed = false;  // an injected fault was met
  cudaError_t last_error = cudaSuccess;
  Streams streams;
  std::vector<std::unique_ptr<CUevent_st>> events;
};

Runtime& runtime() {
  memory();  // outlives the streams that use it
  static Runtime only;
  return only;
}

// The beginning of every entry point: one thread at a time, counted, and failed when it is its turn.
class Call {
 public:
  explicit Call(char const* function) : lock_(runtime().mutex) {
    if (is_inside_host_call) refuse("a callback of cudaLaunchHostFunc called the runtime");
    Runtime& all = runtime();
    ++all.calls[function];
    for (Fault& fault : all.faults) {
      if (fault.function != function || fault.remaining == 0 || --fault.remaining > 0) continue;
      error = fault.error;
      all.has_failed = true;
      if (fault.lasting == Lasting::kFromNow) {
        all.sticky = fault.error;
        all.streams.abandon();
      }
    }
    if (all.sticky) error = *all.sticky;
    if (error == cudaSuccess && all.options.num_devices == 0) error = cudaErrorNoDevice;
    if (error != cudaSuccess) all.last_error = error;
  }
  cudaError_t fail(cudaError_t code) { return runtime().last_error = error = code; }
  cudaError_t error = cudaSuccess;

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

bool is_stream(cudaStream_t stream) {
  if (stream == nullptr) refuse("the legacy default stream");
  return runtime().streams.has(stream);
}

bool is_event(cudaEvent_t event) {
  auto const& events = runtime().events;
  return std::any_of(events.begin(), events.end(), [&](auto const& each) { return each.get() == event; });
}

// Checks one asynchronous transfer: both ends known to CUDA and long enough, and on the sides that `kind` says.
bool is_transfer(void const* target, void const* source, std::size_t count, cudaMemcpyKind kind) {
  cudaMemoryType const to = memory().type_of(target);
  cudaMemoryType const from = memory().type_of(source);
  if (to == cudaMemoryTypeUnregistered || from == cudaMemoryTypeUnregistered) refuse("an asynchronous copy with pageable memory");
  if (!memory().holds(target, count)) refuse("a copy that ends behind its target's allocation");
  if (!memory().holds(source, count)) refuse("a copy that ends behind its source's allocation");
  auto const matches = [](cudaMemoryType type, bool is_device) { return (type == cudaMemoryTypeDevice) == is_device; };
  switch (kind) {
    case cudaMemcpyHostToHost:
      return matches(from, false) && matches(to, false);
    case cudaMemcpyHostToDevice:
      return matches(from, false) && matches(to, true);
    case cudaMemcpyDeviceToHost:
      return matches(from, true) && matches(to, false);
    case cudaMemcpyDeviceToDevice:
      return matches(from, true) && matches(to, true);
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

Transfer transfer_of(void* target, void const* source, std::size_t count) {
  return {static_cast<std::byte*>(target), static_cast<std::byte const*>(source), count};
}

cudaError_t release(Call& call, Arena& arena, void* pointer) {
  if (pointer == nullptr) return call.error;
  std::size_t const size = arena.bytes_from(pointer);
  Runtime& all = runtime();
  auto const* const begin = static_cast<std::byte const*>(pointer);
  if (all.streams.touches(begin, begin + size)) {
    if (!all.has_failed) refuse("memory is freed while a copy that uses it is under way");
    all.streams.drain();  // CUDA waits as well; without a failure before, relying on that is a mistake
  }
  if (!arena.release(pointer)) return call.fail(cudaErrorInvalidValue);
  return call.error;
}

cudaError_t allocate(Call& call, Arena& arena, void** pointer, std::size_t size) {
  if (call.error != cudaSuccess) return call.error;
  *pointer = size == 0 ? nullptr : arena.allocate(size);
  return size > 0 && *pointer == nullptr ? call.fail(cudaErrorMemoryAllocation) : cudaSuccess;
}

}  // namespace

void reset(Options const& options) {
  Runtime& all = runtime();
  if (alive() != Alive{}) refuse("reset() while streams, events or allocations are alive");
  all.options = options;
  all.calls.clear();
  clear_faults();
  all.streams.reset(options);
}

void inject(std::string const& function, std::uint64_t nth, cudaError_t error, Lasting lasting) {
  runtime().faults.push_back({function, nth, error, lasting});
}

void clear_faults() {
  Runtime& all = runtime();
  all.faults.clear();
  all.sticky.reset();
  all.has_failed = false;
  all.last_error = cudaSuccess;
}

bool has_fired() { return runtime().has_failed; }

std::map<std::string, std::uint64_t> const& calls() { return runtime().calls; }

Alive alive() {
  Runtime& all = runtime();
  return {all.streams.num_streams(), all.events.size(), memory().device.num_allocations(),
          memory().host.num_allocations() + memory().registered.size()};
}

std::size_t num_pending() { return runtime().streams.num_pending(); }

void check_guards() {
  DeviceAccess const access;
  memory().device.check_guards();
  memory().host.check_guards();
}

void drain() { runtime().streams.drain(); }

cudaError_t launch(cudaLaunchConfig_t const& config, std::function<void()> thread) {
  Call call("cudaLaunchKernelEx");
  if (call.error != cudaSuccess) return call.error;
  if (config.numAttrs != 0) refuse("launch attributes");
  std::size_t const num_threads = std::size_t{config.blockDim.x} * config.blockDim.y * config.blockDim.z;
  std::size_t const num_blocks = std::size_t{config.gridDim.x} * config.gridDim.y * config.gridDim.z;
  if (!is_stream(config.stream)) return call.fail(cudaErrorInvalidResourceHandle);
  if (num_threads == 0 || num_threads > 1024 || num_blocks == 0 || config.gridDim.y > 65535 || config.gridDim.z > 65535 ||
      config.dynamicSmemBytes > 48 * 1024) {
    return call.fail(cudaErrorInvalidValue);
  }
  runtime().streams.enqueue(config.stream, make_kernel(config, std::move(thread)));
  return cudaSuccess;
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

// --- errors, devices -------------------------------------------------------------------------------------------------

char const* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorHostMemoryAlreadyRegistered:
      return "cudaErrorHostMemoryAlreadyRegistered";
    case cudaErrorHostMemoryNotRegistered:
      return "cudaErrorHostMemoryNotRegistered";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorUnknown:
      return "cudaErrorUnknown";
  }
  return "unrecognized error code";
}

cudaError_t cudaGetLastError() {
  Runtime& all = runtime();
  if (all.sticky) return *all.sticky;
  return std::exchange(all.last_error, cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int* count) {
  Call call("cudaGetDeviceCount");
  if (call.error == cudaSuccess) *count = runtime().options.num_devices;
  return call.error;
}

cudaError_t cudaGetDevice(int* device) {
  Call call("cudaGetDevice");
  if (call.error == cudaSuccess) *device = 0;
  return call.error;
}

cudaError_t cudaSetDevice(int device) {
  Call call("cudaSetDevice");
  if (call.error == cudaSuccess && (device < 0 || device >= runtime().options.num_devices)) return call.fail(cudaErrorInvalidDevice);
  if (device > 0) refuse("a second device");
  return call.error;
}

cudaError_t cudaDriverGetVersion(int* version) {
  Call call("cudaDriverGetVersion");
  if (call.error == cudaSuccess) *version = runtime().options.driver_version;
  return call.error;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  Call call("cudaRuntimeGetVersion");
  if (call.error == cudaSuccess) *version = runtime().options.runtime_version;
  return call.error;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  Call call("cudaGetDeviceProperties");
  if (call.error != cudaSuccess) return call.error;
  if (device != 0) return call.fail(cudaErrorInvalidDevice);
  *properties = {"residentkv host emulation", 9, 0, 4};
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  Call call("cudaDeviceGetStreamPriorityRange");
  if (call.error != cudaSuccess) return call.error;
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  Call call("cudaDeviceSynchronize");
  if (call.error == cudaSuccess) runtime().streams.drain();
  return call.error;
}

// --- memory ----------------------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** pointer, std::size_t size) {
  Call call("cudaMalloc");
  DeviceAccess const access;
  return allocate(call, memory().device, pointer, size);
}

cudaError_t cudaFree(void* pointer) {
  Call call("cudaFree");
  DeviceAccess const access;
  return release(call, memory().device, pointer);
}

cudaError_t cudaHostAlloc(void** pointer, std::size_t size, unsigned int flags) {
  Call call("cudaHostAlloc");
  if ((flags & ~unsigned{cudaHostAllocPortable | cudaHostAllocMapped}) != 0) refuse("flags of cudaHostAlloc");
  return allocate(call, memory().host, pointer, size);
}

cudaError_t cudaFreeHost(void* pointer) {
  Call call("cudaFreeHost");
  return release(call, memory().host, pointer);
}

cudaError_t cudaHostRegister(void* pointer, std::size_t size, unsigned int) {
  Call call("cudaHostRegister");
  if (call.error != cudaSuccess) return call.error;
  if (memory().type_of(pointer) != cudaMemoryTypeUnregistered) return call.fail(cudaErrorHostMemoryAlreadyRegistered);
  memory().registered.emplace(static_cast<std::byte const*>(pointer), size);
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* pointer) {
  Call call("cudaHostUnregister");
  auto const found = memory().registered.find(static_cast<std::byte const*>(pointer));
  if (found == memory().registered.end()) return call.fail(cudaErrorHostMemoryNotRegistered);
  bool const is_used = runtime().streams.touches(found->first, found->first + found->second);
  if (is_used && !runtime().has_failed) refuse("memory is unregistered while a copy that uses it is under way");
  if (is_used) runtime().streams.drain();
  memory().registered.erase(found);
  return call.error;
}

cudaError_t cudaHostGetDevicePointer(void** device_pointer, void* host_pointer, unsigned int flags) {
  Call call("cudaHostGetDevicePointer");
  if (call.error != cudaSuccess) return call.error;
  if (flags != 0 || memory().type_of(host_pointer) != cudaMemoryTypeHost) return call.fail(cudaErrorInvalidValue);
  *device_pointer = host_pointer;  // unified addressing
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, void const* pointer) {
  Call call("cudaPointerGetAttributes");
  if (call.error != cudaSuccess) return call.error;
  cudaMemoryType const type = memory().type_of(pointer);
  void* const address = const_cast<void*>(pointer);
  attributes->type = type;
  attributes->device = type == cudaMemoryTypeUnregistered ? -2 : 0;
  attributes->devicePointer = type == cudaMemoryTypeUnregistered ? nullptr : address;
  attributes->hostPointer = type == cudaMemoryTypeDevice ? nullptr : address;
  return cudaSuccess;
}

// --- streams and events ----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned int flags, int) {
  Call call("cudaStreamCreateWithPriority");
  if (call.error != cudaSuccess) return call.error;
  if (flags != cudaStreamNonBlocking) refuse("a stream that synchronises with the legacy default stream");
  *stream = runtime().streams.create();
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Call call("cudaStreamDestroy");
  if (!is_stream(stream)) return call.fail(cudaErrorInvalidResourceHandle);
  runtime().streams.destroy(stream);
  return call.error;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Call call("cudaStreamSynchronize");
  if (call.error != cudaSuccess) return call.error;
  if (!is_stream(stream)) return call.fail(cudaErrorInvalidResourceHandle);
  runtime().streams.finish(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  Call call("cudaStreamQuery");
  if (call.error != cudaSuccess) return call.error;
  if (!is_stream(stream)) return call.fail(cudaErrorInvalidResourceHandle);
  return runtime().streams.is_idle(stream) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags) {
  Call call("cudaStreamWaitEvent");
  if (call.error != cudaSuccess) return call.error;
  if (!is_stream(stream) || !is_event(event) || flags != 0) return call.fail(cudaErrorInvalidResourceHandle);
  if (event->recorded) runtime().streams.enqueue(stream, make_wait(event->recorded));
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* user_data) {
  Call call("cudaLaunchHostFunc");
  if (call.error != cudaSuccess) return call.error;
  if (!is_stream(stream)) return call.fail(cudaErrorInvalidResourceHandle);
  runtime().streams.enqueue(stream, make_host_call(function, user_data));
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  Call call("cudaEventCreateWithFlags");
  if (call.error != cudaSuccess) return call.error;
  if ((flags & ~unsigned{cudaEventDisableTiming}) != 0) refuse("flags of cudaEventCreateWithFlags");
  *event = runtime().events.emplace_back(std::make_unique<CUevent_st>()).get();
  (*event)->has_timing = flags == cudaEventDefault;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  Call call("cudaEventDestroy");
  if (!is_event(event)) return call.fail(cudaErrorInvalidResourceHandle);
  std::erase_if(runtime().events, [&](auto const& each) { return each.get() == event; });
  return call.error;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  Call call("cudaEventRecord");
  if (call.error != cudaSuccess) return call.error;
  if (!is_event(event) || !is_stream(stream)) return call.fail(cudaErrorInvalidResourceHandle);
  event->recorded = std::make_shared<Completion>();
  event->recorded->recorder = stream;
  runtime().streams.enqueue(stream, make_record(event->recorded));
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  Call call("cudaEventQuery");
  if (call.error != cudaSuccess) return call.error;
  if (!is_event(event)) return call.fail(cudaErrorInvalidResourceHandle);
  return !event->recorded || runtime().streams.is_done(event->recorded) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Call call("cudaEventSynchronize");
  if (call.error != cudaSuccess) return call.error;
  if (!is_event(event)) return call.fail(cudaErrorInvalidResourceHandle);
  if (event->recorded) runtime().streams.finish(event->recorded);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  Call call("cudaEventElapsedTime");
  if (call.error != cudaSuccess) return call.error;
  if (!is_event(start) || !is_event(end) || !start->has_timing || !end->has_timing || !start->recorded || !end->recorded) {
    return call.fail(cudaErrorInvalidResourceHandle);
  }
  if (!start->recorded->is_done.load() || !end->recorded->is_done.load()) return call.fail(cudaErrorNotReady);
  *milliseconds = static_cast<float>(end->recorded->time_ns - start->recorded->time_ns) * 1e-6F;
  return cudaSuccess;
}

// --- copies ----------------------------------------------------------------------------------------------------------

// Blocking, and ordered with nothing: our streams are non-blocking ones, which the legacy default stream does not wait for.
cudaError_t cudaMemcpy(void* target, void const* source, std::size_t count, cudaMemcpyKind) {
  Call call("cudaMemcpy");
  DeviceAccess const access;
  if (call.error == cudaSuccess) std::memcpy(target, source, count);
  return call.error;
}

cudaError_t cudaMemset(void* target, int value, std::size_t count) {
  Call call("cudaMemset");
  DeviceAccess const access;
  if (call.error == cudaSuccess) std::memset(target, value, count);
  return call.error;
}

cudaError_t cudaMemcpyAsync(void* target, void const* source, std::size_t count, cudaMemcpyKind kind, cudaStream_t stream) {
  Call call("cudaMemcpyAsync");
  if (call.error != cudaSuccess) return call.error;
  if (!is_stream(stream)) return call.fail(cudaErrorInvalidResourceHandle);
  if (count == 0) return cudaSuccess;
  if (!is_transfer(target, source, count, kind)) return call.fail(cudaErrorInvalidValue);
  runtime().streams.enqueue(stream, make_copies({transfer_of(target, source, count)}, true));
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* target, int value, std::size_t count, cudaStream_t stream) {
  Call call("cudaMemsetAsync");
  if (call.error != cudaSuccess) return call.error;
  if (!is_stream(stream)) return call.fail(cudaErrorInvalidResourceHandle);
  if (memory().type_of(target) != cudaMemoryTypeDevice || !memory().holds(target, count)) return call.fail(cudaErrorInvalidValue);
  runtime().streams.enqueue(stream, make_fill(static_cast<std::byte*>(target), value, count));
  return cudaSuccess;
}

cudaError_t cudaMemcpyBatchAsync(void* const* targets, void const* const* sources, std::size_t const* sizes, std::size_t count,
                                 cudaMemcpyAttributes* attributes, std::size_t* attribute_indices, std::size_t num_attributes,
                                 cudaStream_t stream) {
  Call call("cudaMemcpyBatchAsync");
  if (call.error != cudaSuccess) return call.error;
  Options const& options = runtime().options;
  if (std::min(options.driver_version, options.runtime_version) < 12080) refuse("cudaMemcpyBatchAsync before CUDA 12.8");
  if (!is_stream(stream)) return call.fail(cudaErrorInvalidResourceHandle);
  if (count == 0 || num_attributes == 0 || num_attributes > count || attribute_indices[0] != 0) return call.fail(cudaErrorInvalidValue);
  for (std::size_t i = 0; i < num_attributes; ++i) {
    if (attributes[i].srcAccessOrder != cudaMemcpySrcAccessOrderStream) refuse("a batch whose source is not read in stream order");
    bool const is_ordered = i == 0 || attribute_indices[i - 1] < attribute_indices[i];
    if (!is_ordered || attribute_indices[i] >= count) return call.fail(cudaErrorInvalidValue);
  }
  std::vector<Transfer> transfers;
  for (std::size_t i = 0; i < count; ++i) {
    if (sizes[i] == 0 || !is_transfer(targets[i], sources[i], sizes[i], cudaMemcpyDefault)) return call.fail(cudaErrorInvalidValue);
    transfers.push_back(transfer_of(targets[i], sources[i], sizes[i]));
  }
  runtime().streams.enqueue(stream, make_copies(std::move(transfers), false));
  return cudaSuccess;
}
