#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace shoal {

// The byte tokenizer as Hugging Face's `tokenizers` says it: a byte-level BPE without merges, whose
// 256 letters are bytes 0 to 255 with ids 2 to 257, <bos> 0 and <eos> 1. Encoding puts <bos> in
// front, as documents and prompts here begin, and no <eos> behind; add_special_tokens=False gives
// the bytes alone. "<bos>" in a text is five bytes (split_special_tokens).
std::string byte_tokenizer_json();
// Beside it, tokenizer_config.json; `positions`: the longest text that the model takes.
std::string byte_tokenizer_config(std::int64_t positions);

// Does a tokenizer.json give bytes the same ids?
bool is_byte_tokenizer(const nlohmann::json& tokenizer);

}  // namespace shoal
