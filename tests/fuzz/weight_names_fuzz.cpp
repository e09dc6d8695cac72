#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "autograd/base/check.h"
#include "train/interop/weight_names.h"

// A line of a name, then a byte per dimension. The parts of a tensor are refused, or tile it: equal
// sizes, one behind the other, each with a name of its own.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(text.find('\n'), text.size());
  std::vector<std::int64_t> shape;
  std::int64_t numel = 1;
  for (std::size_t i = end + 1; i < text.size() && shape.size() < 4; ++i) {
    shape.push_back(static_cast<unsigned char>(text[i]) % 32);
    numel *= shape.back();
  }
  try {
    std::int64_t next = 0;
    std::set<std::string> names;
    for (const auto& part : shoal::published_parts(text.substr(0, end), shape, "fuzz")) {
      if (part.first != next || !names.insert(part.name).second) std::abort();
      std::int64_t count = 1;
      for (const std::int64_t d : part.shape) count *= d;
      next += count;
    }
    if (next != numel) std::abort();
  } catch (const shoal::Error& error) {
    if (error.why() != shoal::Failure::kData) std::abort();
  }
  return 0;
}
