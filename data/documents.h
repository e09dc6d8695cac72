#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace shoal {

// A file by what it is, not by its name: links and other spellings of a path are the same file.
struct SourceFile {
  std::string path;
  std::uint64_t device = 0, inode = 0;
};

// All documents of a run, tokenized, one after the other: bos, text, eos.
struct Documents {
  std::vector<std::int32_t> tokens;
  std::vector<std::int64_t> begin{0};  // [count + 1] document d is tokens begin[d] .. begin[d+1]-1
  std::vector<std::string> warnings;   // what was left out while reading, a sentence each
  std::vector<SourceFile> files;       // that were read, in order

  std::int64_t count() const { return static_cast<std::int64_t>(begin.size()) - 1; }
  std::span<const std::int32_t> document(std::int64_t d) const {
    const auto i = static_cast<std::size_t>(d);
    return {tokens.data() + begin[i], static_cast<std::size_t>(begin[i + 1] - begin[i])};
  }
  void add(std::string_view text, const Tokenizer& tokenizer);
  // The document ends here: what was appended to `tokens` since the last one.
  void close() { begin.push_back(static_cast<std::int64_t>(tokens.size())); }
};

}  // namespace shoal
