#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "autograd/base/check.h"
#include "train/checkpoint/manifest.h"

namespace {

// What is accepted can be written again, and then reads back the same.
void parse(std::string_view text) {
  try {
    const shoal::Manifest manifest = shoal::parse_manifest(text, "fuzz");
    for (const auto& file : manifest.files) {
      if (file.name.empty() || file.name.find('/') != file.name.npos) std::abort();
    }
    const std::string again = shoal::manifest_text(manifest);
    if (shoal::manifest_text(shoal::parse_manifest(again, "fuzz")) != again) std::abort();
  } catch (const shoal::Error& error) {
    if (error.why() != shoal::Failure::kData) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  parse(text);
  // Nobody hits a SHA-256 by chance: the same with the checksum made to match.
  parse(shoal::seal_manifest(text.substr(0, text.rfind("  \"manifest_sha256\""))));
  return 0;
}
