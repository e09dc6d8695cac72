#include <cstdint>
#include <cstdlib>
#include <string>

#include "autograd/base/check.h"
#include "train/interop/weight_index.h"

// An index is refused with one Error(kData), or every file that it names lies in its own folder,
// and it reads back the same when it is written again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const shoal::WeightIndex index = shoal::parse_weight_index(text, "fuzz");
    for (const auto& [tensor, file] : index.file_of) {
      if (file.empty() || file.find_first_of("/\\") != file.npos || file.front() == '.') {
        std::abort();
      }
    }
    const std::string again = shoal::weight_index_text(index);
    const shoal::WeightIndex same = shoal::parse_weight_index(again, "written");
    if (same.file_of != index.file_of || same.total_bytes != index.total_bytes) std::abort();
  } catch (const shoal::Error& error) {
    if (error.why() != shoal::Failure::kData) std::abort();
    if (std::string(error.what()).starts_with("written")) std::abort();
  }
  return 0;
}
