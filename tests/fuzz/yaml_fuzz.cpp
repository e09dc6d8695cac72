#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "autograd/base/check.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"

// The configuration's reader: the text up to the first line "=====" is the file, every line behind
// it an override. Whatever comes: an Error of the right kind, or a configuration that reads back
// to itself.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> overrides;
  if (const std::size_t mark = text.find("=====\n"); mark != std::string::npos) {
    overrides.emplace_back();
    for (const char c : text.substr(mark + 6)) {
      if (c == '\n') {
        overrides.emplace_back();
      } else {
        overrides.back() += c;
      }
    }
    overrides.pop_back();
    text.resize(mark);
  }
  try {
    const shoal::RunConfig config = shoal::parse_config(text, "fuzz.yaml", overrides, {});
    const std::string shown = shoal::to_yaml(config);
    if (shoal::parse_config(shown, "shown.yaml", {}, {}) != config) std::abort();
  } catch (const shoal::Error& error) {
    if (error.why() != shoal::Failure::kUsage) std::abort();
    if (std::string(error.what()).find("shown.yaml") == 0) std::abort();
  }
  return 0;
}
