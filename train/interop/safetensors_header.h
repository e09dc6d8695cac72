#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace shoal {

// A tensor as a safetensors header describes it; its bytes are [begin, end) of the data part.
struct TensorInfo {
  std::string dtype;  // as in the file: "F32", "I64", ...
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;

  std::int64_t numel() const;  // never overflows for a tensor that a header parse returned
};

struct SafetensorsHeader {
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;  // "__metadata__"; empty where there is none
};

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes, as the format says

// Bits of one element; 0 for a name that the format does not know.
int safetensors_dtype_bits(std::string_view dtype);

// The JSON of a header, strictly: an object of {dtype, shape, data_offsets} objects and at most one
// "__metadata__" of strings, no key twice, no key more, no bytes but spaces after it. The tensors
// fill [0, data_bytes) without hole or overlap, and shape times dtype gives each tensor's bytes.
// Anything else is an Error(kData) that begins with `where` (the file's name) and names the tensor.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes,
                                           const std::string& where);

// A string that came from a file, fit for a terminal: in quotes, control characters escaped, cut.
// Not called `quoted`: for a std::string argument lookup would prefer std::quoted, which escapes
// nothing.
std::string in_quotes(std::string_view text);

}  // namespace shoal
