#pragma once
#include <cstddef>
#include <string>

// OpenSSL's type stays out of our headers.
struct evp_md_ctx_st;

namespace shoal {

// SHA-256 in pieces: update() any number of times, then hex() once (64 small hex digits).
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(const void* data, std::size_t size);
  std::string hex();

 private:
  evp_md_ctx_st* context_;
};

std::string sha256_hex(const void* data, std::size_t size);

}  // namespace shoal
