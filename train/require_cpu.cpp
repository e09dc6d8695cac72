// Refuses a processor that the rest of the program was not compiled for. This file is compiled for
// any x86-64 and runs before every other initialiser, so that nobody meets an illegal instruction.
#include <unistd.h>

namespace {

[[gnu::constructor(101)]] void require_cpu() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
      __builtin_cpu_supports("bmi2") != 0) {
    return;
  }
  constexpr char kWhy[] =
      "shoal: this build needs an x86-64-v3 processor (AVX2, FMA, BMI2; 2013 or later), and this "
      "one is older.\n";
  [[maybe_unused]] const auto written = write(2, kWhy, sizeof(kWhy) - 1);
  _exit(2);
#endif
}

}  // namespace
