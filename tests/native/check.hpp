#pragma once
// A test harness of forty lines: TEST(name) { CHECK(...); CHECK_EQUAL(a, b); CHECK_THROWS(Error, expression); }
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <string>
#include <type_traits>
#include <vector>

namespace residentkv::testing {

struct Test {
  std::string name;
  std::function<void()> body;
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Failure : std::exception {};

inline bool add(char const* name, std::function<void()> body) {
  tests().push_back({name, std::move(body)});
  return true;
}

inline void fail(char const* file, int line, std::string const& what) {
  std::cerr << file << ":" << line << ": " << what << "\n";
  throw Failure();
}

}  // namespace residentkv::testing

#define TEST(name)                                                                                   \
  static void test_##name();                                                                         \
  [[maybe_unused]] static bool const added_##name = ::residentkv::testing::add(#name, &test_##name); \
  static void test_##name()
#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) ::residentkv::testing::fail(__FILE__, __LINE__, "expected " #condition); \
  } while (false)
#define CHECK_EQUAL(a, b)                                                                            \
  do {                                                                                               \
    auto const& left_value = (a);                                                                    \
    std::decay_t<decltype(left_value)> const right_value = (b);                                      \
    if (!(left_value == right_value)) ::residentkv::testing::fail(__FILE__, __LINE__, #a " != " #b); \
  } while (false)
#define CHECK_THROWS(Error, expression)                                                                     \
  do {                                                                                                      \
    bool has_thrown = false;                                                                                \
    try {                                                                                                   \
      static_cast<void>(expression);                                                                        \
    } catch (Error const&) {                                                                                \
      has_thrown = true;                                                                                    \
    }                                                                                                       \
    if (!has_thrown) ::residentkv::testing::fail(__FILE__, __LINE__, #expression " did not throw " #Error); \
  } while (false)
