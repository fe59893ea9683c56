#pragma once
// Three checks with three meanings; see docs/invariants.md.
//   RKV_REQUIRE(condition, message...)    the caller broke a documented REQUIRES: ContractError, state unchanged. Always on.
//   RKV_INVARIANT(condition, message...)  our bookkeeping is wrong: InvariantError, the manager is poisoned. Always on, O(1).
//   RKV_AUDIT(condition, message...)      the same, for O(n) checks: only with RKV_AUDIT_LEVEL >= 1.
// The message parts are streamed, and only when the check fails: RKV_REQUIRE(n > 0, "num_tokens=", n, " must be > 0").
#include <sstream>
#include <stdexcept>
#include <string>

namespace residentkv {

class ContractError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class InvariantError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {
template <typename Error, typename... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void raise(Parts const&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(text.str());
}
}  // namespace detail

}  // namespace residentkv

#define RKV_REQUIRE(condition, ...)                                          \
  do {                                                                       \
    if (!(condition)) [[unlikely]]                                           \
      ::residentkv::detail::raise<::residentkv::ContractError>(__VA_ARGS__); \
  } while (false)

#define RKV_INVARIANT(condition, ...)                                         \
  do {                                                                        \
    if (!(condition)) [[unlikely]]                                            \
      ::residentkv::detail::raise<::residentkv::InvariantError>(__VA_ARGS__); \
  } while (false)

#ifndef RKV_AUDIT_LEVEL
#define RKV_AUDIT_LEVEL 0
#endif
#if RKV_AUDIT_LEVEL >= 1
#define RKV_AUDIT(condition, ...) RKV_INVARIANT(condition, __VA_ARGS__)
#else
#define RKV_AUDIT(condition, ...) static_cast<void>(0)
#endif
