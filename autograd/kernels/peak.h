#pragma once

namespace shoal {

// What the machine gives at best in single-precision products, in GFLOP/s: the sum over the threads
// of each one's own 1024 x 1024 x 1024 cblas_sgemm while all run. Takes a few tenths of a second.
double measure_matmul_peak_gflops();

}  // namespace shoal
