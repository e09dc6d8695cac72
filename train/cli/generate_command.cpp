#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "autograd/base/printable.h"
#include "autograd/base/quantity.h"
#include "train/cli/commands.h"
#include "train/cli/loaded_model.h"
#include "train/generate/generator.h"
#include "train/generate/text_stream.h"
#include "train/metrics/records.h"
#include "train/plan/run_plan.h"

namespace shoal {
namespace {

// "-" is what stdin holds, without the line feed at its end. Each prompt comes `samples` times.
std::vector<std::string> read_prompts(std::vector<std::string> prompts, std::int64_t samples) {
  if (std::count(prompts.begin(), prompts.end(), "-") > 1) {
    reject(Failure::kUsage, "--prompt - may be given once: stdin is read to its end");
  }
  for (std::string& prompt : prompts) {
    if (prompt != "-") continue;
    prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
    if (prompt.ends_with('\n')) prompt.pop_back();
  }
  std::vector<std::string> all;
  for (const std::string& prompt : prompts) {
    all.insert(all.end(), static_cast<std::size_t>(samples), prompt);
  }
  return all;
}

// Texts on stdout in the order of their prompts: the first one that has not ended is written as it
// comes, later ones wait. A terminal gets whole characters alone, and no control characters.
class TextPrinter {
 public:
  explicit TextPrinter(const std::vector<std::string>& prompts)
      : terminal_(::isatty(STDOUT_FILENO) == 1), texts_(prompts.size()) {
    for (std::size_t i = 0; i < prompts.size(); ++i) texts_[i].waiting = prompts[i];
    show();
  }

  void operator()(std::size_t i, const std::string& piece) {
    texts_[i].waiting += piece;
    texts_[i].ended |= piece.empty();
    show();
  }

 private:
  struct Text {
    std::string waiting;
    bool ended = false;
  };

  void show() {
    for (; first_ < texts_.size(); ++first_) {
      Text& text = texts_[first_];
      if (!begun_ && texts_.size() > 1) std::cout << "==> " << first_ + 1 << " <==\n";
      begun_ = true;
      write(characters_.add(text.waiting));
      text.waiting.clear();
      if (!text.ended) break;
      write(characters_.finish());
      std::cout << '\n';
      begun_ = false;
    }
    std::cout << std::flush;
  }
  void write(const std::string& text) { std::cout << (terminal_ ? printable_lines(text) : text); }

  bool terminal_, begun_ = false;
  std::vector<Text> texts_;
  std::size_t first_ = 0;
  WholeCharacters characters_;
};

double per_second(std::int64_t tokens, double seconds) {
  return seconds > 0.0 ? static_cast<double>(tokens) / seconds : 0.0;
}
double share(std::size_t part, std::size_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

void say_costs(const Generation& g, const ModelConfig& model) {
  spdlog::info("read {} tokens at {} tokens/s, then one by one at {} tokens/s", g.prefill_tokens,
               format_count(per_second(g.prefill_tokens, g.prefill_seconds)),
               format_count(per_second(g.decode_tokens, g.decode_seconds)));
  spdlog::info(
      "cache: {} bytes, {} of one raw key-value row for every token and layer ({} bytes), {} of "
      "keys "
      "and values for each of {} heads ({} bytes)",
      g.cache_bytes, format_share(share(g.cache_bytes, g.raw_cache_bytes)), g.raw_cache_bytes,
      format_share(share(g.cache_bytes, g.multi_head_cache_bytes)), model.num_attention_heads,
      g.multi_head_cache_bytes);
}

Json json_of(const Generation& g, const std::vector<std::string>& prompts, std::int64_t step) {
  Json json;
  json["step"] = step;
  if (prompts.size() == 1) {
    json["prompt"] = prompts[0];
    json["text"] = g.texts[0].text;
  }
  json["samples"] = Json::array();
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const GeneratedText& text = g.texts[i];
    json["samples"].push_back({{"prompt", prompts[i]},
                               {"text", text.text},
                               {"prompt_tokens", text.prompt_tokens},
                               {"tokens", text.tokens},
                               {"end", name_of(text.end)}});
  }
  json["prefill_tokens"] = g.prefill_tokens;
  json["prefill_tokens_per_second"] = per_second(g.prefill_tokens, g.prefill_seconds);
  json["decode_tokens"] = g.decode_tokens;
  json["decode_tokens_per_second"] = per_second(g.decode_tokens, g.decode_seconds);
  json["cache_bytes"] = g.cache_bytes;
  json["raw_cache_bytes"] = g.raw_cache_bytes;
  json["multi_head_cache_bytes"] = g.multi_head_cache_bytes;
  return json;
}

// Keys that decide a generation beside the options.
void require_of_generation(const std::string& key) {
  for (const char* name : {"model.fp4.", "model.fp8.", "indexer.", "checkpoint.step"}) {
    if (key.starts_with(name)) return;
  }
  reject(Failure::kUsage, key,
         ": changes nothing in a generation; generate takes model.fp4, model.fp8, indexer and "
         "checkpoint.step");
}

}  // namespace

int generate_command(const GenerateArguments& args) {
  const LoadedModel loaded = load_model(args.run, args.overrides);
  for (const std::string& key : loaded.changed) require_of_generation(key);
  const auto tokenizer = make_tokenizer(loaded.config.data.tokenizer);
  const std::vector<std::string> prompts = read_prompts(args.prompts, args.samples);
  const GenerateConfig config{
      args.tokens, {args.temperature, args.top_k, args.top_p}, args.seed, args.stops};
  const IndexerMode mode = RunPlan(loaded.config).at(loaded.step).indexer;
  Tape tape;
  if (args.json) {
    const Generation g = generate(*loaded.model, tape, *tokenizer, prompts, config, mode);
    std::cout << line_of(json_of(g, prompts, loaded.step)) << '\n';
    return 0;
  }
  check_prompts(*loaded.model, *tokenizer, prompts);  // before the first is printed
  TextPrinter printer(prompts);
  const Generation g =
      generate(*loaded.model, tape, *tokenizer, prompts, config, mode,
               [&](std::size_t i, const std::string& piece) { printer(i, piece); });
  say_costs(g, loaded.config.model);
  return 0;
}

}  // namespace shoal
