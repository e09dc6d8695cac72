#pragma once
#include "data/tokenizer/tokenizer.h"

namespace shoal {

// 258 ids: bos 0, eos 1, byte b is 2 + b. Needs no file and takes every text.
class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr std::int32_t kBos = 0, kEos = 1, kFirstByte = 2;

  std::int64_t vocab_size() const override { return kFirstByte + 256; }
  std::int32_t bos() const override { return kBos; }
  std::int32_t eos() const override { return kEos; }
  void encode(std::string_view text, std::vector<std::int32_t>& out) const override;
  std::string decode(std::span<const std::int32_t> ids) const override;
  std::int64_t text_bytes(std::int32_t id) const override { return id >= kFirstByte ? 1 : 0; }
  std::string fingerprint() const override { return "bytes"; }
};

}  // namespace shoal
