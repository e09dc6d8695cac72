#pragma once

// Which sanitizer the compiler puts in, as g++ and clang++ each say it.
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SHOAL_ASAN
#endif
#if __has_feature(thread_sanitizer)
#define SHOAL_TSAN
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SHOAL_ASAN
#endif
#ifdef __SANITIZE_THREAD__
#define SHOAL_TSAN
#endif
#if defined(SHOAL_ASAN) || defined(SHOAL_TSAN)
#define SHOAL_SANITIZED
#endif
