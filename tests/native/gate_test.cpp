#include "manager/gate.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "check.hpp"

namespace residentkv {
namespace {

TEST(two_threads_in_one_gate_are_an_error_and_the_first_goes_on) {
  Gate gate;
  std::atomic<bool> is_inside{false};
  std::atomic<bool> may_leave{false};
  std::thread first([&] {
    gate.enter([&] {
      is_inside = true;
      while (!may_leave) std::this_thread::yield();
    });
  });
  while (!is_inside) std::this_thread::yield();
  CHECK_THROWS(ContractError, gate.enter([] { return 0; }));
  may_leave = true;
  first.join();
  CHECK_EQUAL(gate.enter([] { return 3; }), 3);
}

TEST(a_broken_invariant_poisons_and_a_contract_error_does_not) {
  Gate gate;
  CHECK_THROWS(ContractError, gate.enter([]() -> int { throw ContractError("caller"); }));
  CHECK_EQUAL(gate.enter([] { return 1; }), 1);
  CHECK_THROWS(InvariantError, gate.enter([]() -> int { throw InvariantError("ours"); }));
  CHECK_EQUAL(gate.poisoned(), std::string("ours"));
  CHECK_THROWS(InvariantError, gate.enter([] { return 1; }));
  CHECK_EQUAL(gate.read([] { return 2; }), 2);  // for a post-mortem
}

TEST(running_out_of_memory_inside_poisons) {
  Gate gate;
  CHECK_THROWS(std::bad_alloc, gate.enter([]() -> int { throw std::bad_alloc(); }));
  CHECK_THROWS(InvariantError, gate.enter([] { return 1; }));
}

TEST(a_closed_gate_stays_closed) {
  Gate gate;
  gate.close();
  CHECK_THROWS(ContractError, gate.enter([] { return 1; }));
}

TEST(a_forked_child_is_kept_out) {
  Gate gate;
  pid_t const child = fork();
  if (child == 0) {
    try {
      gate.enter([] {});
    } catch (ContractError const&) {
      _exit(17);
    }
    _exit(0);
  }
  int status = 0;
  CHECK_EQUAL(waitpid(child, &status, 0), child);
  CHECK_EQUAL(WEXITSTATUS(status), 17);
  CHECK_EQUAL(gate.enter([] { return 1; }), 1);
}

}  // namespace
}  // namespace residentkv
