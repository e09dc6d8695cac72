#include "train/interop/tokenizer_files.h"

#include <nlohmann/json.hpp>

#include "data/tokenizer/bytes.h"

namespace shoal {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kBosText = "<bos>";
constexpr const char* kEosText = "<eos>";

// Byte-level tokenizers write bytes as letters: a printable one of Latin-1 stands for itself, the
// others take the letters from U+0100 on, in order.
std::string letter_of(int byte, int& next) {
  const bool itself =
      (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xff && byte != 0xad);
  const int code = itself ? byte : next++;
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
}

Json vocabulary() {
  Json vocabulary;
  vocabulary[kBosText] = ByteTokenizer::kBos;
  vocabulary[kEosText] = ByteTokenizer::kEos;
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary[letter_of(byte, next)] = ByteTokenizer::kFirstByte + byte;
  }
  return vocabulary;
}

Json special(const char* text, int id) {
  return {{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

Json byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", false}};
}

Json bos_then(const char* sequence, int type) {
  return Json::array({{{"SpecialToken", {{"id", kBosText}, {"type_id", type}}}},
                      {{"Sequence", {{"id", sequence}, {"type_id", type}}}}});
}

}  // namespace

std::string byte_tokenizer_json() {
  Json pair = bos_then("A", 0);
  for (const Json& item : bos_then("B", 1)) pair.push_back(item);
  Json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  json["added_tokens"] = {special(kBosText, ByteTokenizer::kBos),
                          special(kEosText, ByteTokenizer::kEos)};
  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = byte_level();
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", bos_then("A", 0)},
                            {"pair", pair},
                            {"special_tokens",
                             {{kBosText,
                               {{"id", kBosText},
                                {"ids", Json::array({ByteTokenizer::kBos})},
                                {"tokens", Json::array({kBosText})}}}}}};
  json["decoder"] = byte_level();
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", vocabulary()},
                   {"merges", Json::array()}};
  return json.dump(1) + "\n";
}

std::string byte_tokenizer_config(std::int64_t positions) {
  const Json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                     {"bos_token", kBosText},
                     {"eos_token", kEosText},
                     {"pad_token", kEosText},  // a batch masks what it pads with
                     {"model_max_length", positions},
                     {"add_prefix_space", false},
                     {"clean_up_tokenization_spaces", false},
                     {"split_special_tokens", true}};
  return json.dump(1) + "\n";
}

bool is_byte_tokenizer(const nlohmann::json& tokenizer) {
  const auto model = tokenizer.find("model");
  if (model == tokenizer.end() || !model->is_object()) return false;
  const auto found = model->find("vocab");
  const auto merges = model->find("merges");
  return found != model->end() && *found == nlohmann::json(vocabulary()) &&
         (merges == model->end() || merges->empty());
}

}  // namespace shoal
