#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/documents.h"

namespace shoal {

// A tokenized corpus in one file, X.tokens. All numbers are little-endian:
//   byte   0  "SHOALTOK"
//          8  u32 version, 1               12  u32 bytes of a token, 2 or 4
//         16  u64 vocabulary size          24  u32 bos    28  u32 eos
//         32  u64 documents                40  u64 tokens
//         48  64 bytes: the tokenizer's fingerprint, padded with zeros
//        112  32 bytes: SHA-256 of bytes 0..111 and of everything from byte 144 on
//        144  u64 [documents + 1]: where each document begins, in tokens; the last is the end
//             tokens: every document is bos, text, eos
// Nothing in a file is believed before it was compared with the file's size, and no token is used
// before the hash was compared.
struct TokenFileInfo {
  std::int64_t token_bytes = 0, vocab_size = 0, documents = 0, tokens = 0, file_bytes = 0;
  std::int32_t bos = 0, eos = 0;
  std::string tokenizer;  // fingerprint
  std::string sha256;     // hex
};

// Throw Error(kData) where the file is not a token file, damaged, or of another tokenizer.
TokenFileInfo read_token_file_info(const std::string& path);  // checks everything but the tokenizer
void read_token_file(const std::string& path, const Tokenizer& tokenizer, Documents& out);

bool is_token_file(const std::string& path);  // by its first eight bytes; Error(kData): unreadable
// What is wrong with the file, a sentence each; empty: nothing. Throws Error(kData) where it cannot
// be read or is no token file at all.
std::vector<std::string> verify_token_file(const std::string& path);

// `order` lists the documents to write. Throws Error(kDisk); see replace_file.
void write_token_file(const std::string& path, const Documents& documents,
                      const std::vector<std::int64_t>& order, const Tokenizer& tokenizer);

// The same on bytes in memory; `name` stands for the file in errors.
std::vector<std::string> token_file_problems(std::string_view bytes, TokenFileInfo& info);
void parse_token_file(std::string_view bytes, const std::string& name, const Tokenizer& tokenizer,
                      Documents& out);
// The 32 bytes that belong at byte 112 of `bytes` (at least 144 of them).
inline constexpr std::string_view kTokenFileMagic = "SHOALTOK";
inline constexpr std::size_t kTokenFileHeader = 144, kTokenFileDigest = 112;
std::string token_file_digest(std::string_view bytes);

}  // namespace shoal
