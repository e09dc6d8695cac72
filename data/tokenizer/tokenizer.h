#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shoal {

// Text to ids and back. A document is always bos, its text, eos; encode() gives only the text.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::int64_t vocab_size() const = 0;
  virtual std::int32_t bos() const = 0;
  virtual std::int32_t eos() const = 0;
  // Appends the ids of `text` to `out`.
  virtual void encode(std::string_view text, std::vector<std::int32_t>& out) const = 0;
  // The text of the ids; bos and eos give nothing. decode(encode(text)) == text for every text.
  virtual std::string decode(std::span<const std::int32_t> ids) const = 0;
  // Bytes of text that an id stands for; 0 for bos and eos.
  virtual std::int64_t text_bytes(std::int32_t id) const = 0;
  // At most 64 printable characters, equal for equal tokenizers: token files and checkpoints
  // remember which one their ids belong to.
  virtual std::string fingerprint() const = 0;
};

// What the key data.tokenizer says: "bytes". Throws Error(kUsage) for anything else.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec);

}  // namespace shoal
