# Flags of our own code only; none of them reaches a user of shoal::shoal.
add_library(shoal_options INTERFACE)
target_compile_options(shoal_options INTERFACE
  -Wall -Wextra -Werror -Wno-unknown-pragmas
  # g++ 12 sees overlapping copies in std::string's operator+ that are not there.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # clang++ warns about an `omp simd` loop that it leaves scalar, as it does without optimization.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed>
  # Bits must not depend on what a compiler likes to fuse: fused multiply-adds are written as
  # std::fma. kernels/gemm, whose only pattern is acc += a * b, turns contraction on for itself.
  -ffp-contract=off -fno-math-errno -fno-trapping-math
  -fstack-protector-strong)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(shoal_options INTERFACE -march=x86-64-v3)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_definitions(shoal_options INTERFACE _FORTIFY_SOURCE=2)
endif()
if(SHOAL_SANITIZE)
  add_compile_options(-fsanitize=${SHOAL_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${SHOAL_SANITIZE})
  if(SHOAL_SANITIZE MATCHES undefined)
    add_compile_options(-fno-sanitize-recover=all)
  endif()
endif()
