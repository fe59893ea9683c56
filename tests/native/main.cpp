// Runs every TEST, or those whose name contains the first argument.
#include "check.hpp"

int main(int argc, char const* const* argv) {
  std::string const wanted = argc > 1 ? argv[1] : "";
  int num_passed = 0;
  int num_failed = 0;
  for (residentkv::testing::Test const& test : residentkv::testing::tests()) {
    if (test.name.find(wanted) == std::string::npos) continue;
    try {
      test.body();
      ++num_passed;
    } catch (std::exception const& error) {
      std::cerr << "FAILED " << test.name << ": " << error.what() << "\n";
      ++num_failed;
    }
  }
  std::cout << num_passed << " passed, " << num_failed << " failed\n";
  return num_failed > 0 || num_passed == 0;
}
