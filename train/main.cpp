#include <unistd.h>

#include <cstdlib>

#include "train/cli/cli.h"
#include "train/run/version.h"

namespace shoal {
extern const char* const kBuildCommit;  // cmake/ShoalCommit.cmake writes it
}

namespace {

// Waiting threads spin for a millisecond by libgomp's default, which costs a factor of six as soon
// as another process wants the cores; a few microseconds are as fast on an idle machine (both
// measured). libgomp reads its settings before main, so the program starts itself once more.
void spin_briefly(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("GOMP_SPINCOUNT", "5000", 1);
  execv("/proc/self/exe", argv);  // returns only if it failed: then things work, just slower
}

}  // namespace

int main(int argc, char** argv) {
  spin_briefly(argv);
  shoal::set_build_commit(shoal::kBuildCommit);
  return shoal::run_cli(argc, argv);
}
