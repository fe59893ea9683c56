#pragma once
// What tests of the CUDA lane share: emulated memory with known contents, and children that are expected to die.
#include <cuda_runtime_api.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "check.hpp"
#include "control.hpp"

namespace residentkv::testing {

// The byte that belongs at position `i` of the data named by `seed`: no two neighbours, runs or seeds look alike.
constexpr std::byte pattern(std::uint64_t seed, std::size_t i) {
  std::uint64_t const mixed = (seed * 0x9E3779B97F4A7C15U) ^ (i * 0xD1B54A32D192ED03U);
  return static_cast<std::byte>((mixed >> 29) ^ (mixed >> 47));
}

inline void check_success(cudaError_t error) { CHECK_EQUAL(error, cudaSuccess); }

// Device memory as a caller owns it (torch's, in life); freed when it goes.
class DeviceBytes {
 public:
  explicit DeviceBytes(std::vector<std::byte> const& contents) : size_(contents.size()) {
    void* pointer = nullptr;
    check_success(cudaMalloc(&pointer, size_));
    data_ = static_cast<std::byte*>(pointer);
    check_success(cudaMemcpy(data_, contents.data(), size_, cudaMemcpyHostToDevice));
  }
  ~DeviceBytes() { static_cast<void>(cudaFree(data_)); }
  DeviceBytes(DeviceBytes const&) = delete;
  DeviceBytes& operator=(DeviceBytes const&) = delete;
  std::byte* data() const { return data_; }
  std::vector<std::byte> read() const {
    std::vector<std::byte> contents(size_);
    check_success(cudaMemcpy(contents.data(), data_, size_, cudaMemcpyDeviceToHost));
    return contents;
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_;
};

class HostBytes {
 public:
  explicit HostBytes(std::size_t size) : size_(size) {
    void* pointer = nullptr;
    check_success(cudaHostAlloc(&pointer, size, cudaHostAllocPortable | cudaHostAllocMapped));
    data_ = static_cast<std::byte*>(pointer);
  }
  ~HostBytes() { static_cast<void>(cudaFreeHost(data_)); }
  HostBytes(HostBytes const&) = delete;
  HostBytes& operator=(HostBytes const&) = delete;
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::vector<std::byte> read() const { return {data_, data_ + size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_;
};

class TestStream {
 public:
  TestStream() { check_success(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, 0)); }
  ~TestStream() { static_cast<void>(cudaStreamDestroy(stream_)); }
  TestStream(TestStream const&) = delete;
  TestStream& operator=(TestStream const&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class TestEvent {
 public:
  TestEvent() { check_success(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
  ~TestEvent() { static_cast<void>(cudaEventDestroy(event_)); }
  TestEvent(TestEvent const&) = delete;
  TestEvent& operator=(TestEvent const&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Runs `body` in a child process and returns what it wrote to stderr before it died; "" when it lived.
template <typename Body>
std::string last_words(Body body) {
  int ends[2];
  if (pipe(ends) != 0) fail(__FILE__, __LINE__, "pipe failed");
  pid_t const child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string words;
  char buffer[4096];
  for (ssize_t count = 0; (count = read(ends[0], buffer, sizeof buffer)) > 0;) words.append(buffer, static_cast<std::size_t>(count));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  bool const lived = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return lived ? std::string() : words + " (died)";
}

inline bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace residentkv::testing
