#include "train/interop/safetensors_header.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "autograd/base/check.h"

namespace shoal {
namespace {

constexpr std::size_t kMaxDims = 8;  // no model has more, and it bounds what a header can allocate

struct DTypeBits {
  std::string_view name;
  int bits;
};
constexpr std::array<DTypeBits, 22> kDTypes{{
    {"BOOL", 8},    {"U8", 8},      {"I8", 8},          {"U16", 16},        {"I16", 16},
    {"F16", 16},    {"BF16", 16},   {"U32", 32},        {"I32", 32},        {"F32", 32},
    {"U64", 64},    {"I64", 64},    {"F64", 64},        {"C64", 64},        {"F8_E4M3", 8},
    {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F4", 4},
    {"F6_E2M3", 6}, {"F6_E3M2", 6},
}};

std::string known_dtypes() {
  std::string list;
  for (const DTypeBits& d : kDTypes) list.append(list.empty() ? "" : ", ").append(d.name);
  return list;
}

// Where in the header the parser stands. The format is three levels deep and no deeper, so its
// grammar is this list, and a bomb of brackets ends at its fourth.
enum class At {
  kStart,   // before the outer {
  kName,    // a tensor's name, or "__metadata__"
  kTensor,  // before the { of a tensor
  kField,   // dtype, shape or data_offsets
  kDType,
  kShape,  // before [
  kShapeItem,
  kOffsets,  // before [
  kOffsetsItem,
  kMetadata,  // before the { of "__metadata__"
  kMetadataName,
  kMetadataText,
  kEnd,
};

class HeaderReader {
 public:
  HeaderReader(const std::string& where, SafetensorsHeader& out) : where_(where), out_(out) {}

  bool start_object(std::size_t) {
    switch (at_) {
      case At::kStart:
        return go(At::kName);
      case At::kTensor:
        return go(At::kField);
      case At::kMetadata:
        return go(At::kMetadataName);
      default:
        refuse_value("an object");
    }
  }

  bool key(std::string& key) {
    if (at_ == At::kName) return tensor_name(key);
    if (at_ == At::kMetadataName) {
      if (!out_.metadata.try_emplace(key).second) {
        reject(Failure::kData, where_, ": __metadata__ has the key ", in_quotes(key), " twice");
      }
      name_ = key;
      return go(At::kMetadataText);
    }
    return field(key);
  }

  bool end_object() {
    if (at_ == At::kName) return go(At::kEnd);
    if (at_ == At::kMetadataName) return go(At::kName);
    const char* missing = !has_dtype_     ? "dtype"
                          : !has_shape_   ? "shape"
                          : !has_offsets_ ? "data_offsets"
                                          : nullptr;
    if (missing != nullptr) refuse(missing, " is missing");
    out_.tensors.find(name_)->second = std::move(tensor_);
    return go(At::kName);
  }

  bool start_array(std::size_t) {
    if (at_ == At::kShape) return go(At::kShapeItem);
    if (at_ == At::kOffsets) return go(At::kOffsetsItem);
    refuse_value("a list");
  }

  bool end_array() {
    if (at_ == At::kOffsetsItem) {
      if (offsets_ != 2) refuse("data_offsets needs [begin, end], got ", offsets_, " numbers");
    }
    return go(At::kField);
  }

  bool number_unsigned(std::uint64_t value) {
    if (at_ == At::kShapeItem) {
      if (tensor_.shape.size() == kMaxDims) refuse("more than ", kMaxDims, " dimensions");
      if (value > static_cast<std::uint64_t>(INT64_MAX)) refuse("dimension ", value, " overflows");
      tensor_.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (at_ == At::kOffsetsItem) {
      if (offsets_ == 2) refuse("data_offsets needs [begin, end], got more numbers");
      (offsets_++ == 0 ? tensor_.begin : tensor_.end) = value;
      return true;
    }
    refuse_value("a number");
  }

  bool string(std::string& text) {
    if (at_ == At::kMetadataText) {
      out_.metadata[name_] = text;
      return go(At::kMetadataName);
    }
    if (at_ != At::kDType) refuse_value("a string");
    if (safetensors_dtype_bits(text) == 0) {
      refuse("unknown dtype ", in_quotes(text), "; known are ", known_dtypes());
    }
    tensor_.dtype = text;
    return go(At::kField);
  }

  bool number_integer(std::int64_t value) { refuse_value(concat("the number ", value)); }
  bool number_float(double, const std::string& text) {
    refuse_value(concat("the number ", text.substr(0, 40)));
  }
  bool null() { refuse_value("null"); }
  bool boolean(bool) { refuse_value("a boolean"); }
  bool binary(nlohmann::json::binary_t&) { refuse_value("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) {
    reject(Failure::kData, where_, ": the header is not valid JSON at its byte ", position);
  }

 private:
  bool go(At at) {
    at_ = at;
    return true;
  }

  bool tensor_name(const std::string& key) {
    name_ = key;
    if (key == "__metadata__") {
      if (std::exchange(has_metadata_, true)) {
        reject(Failure::kData, where_, ": __metadata__ appears twice");
      }
      return go(At::kMetadata);
    }
    if (!out_.tensors.try_emplace(key).second) refuse("appears twice in the header");
    tensor_ = {};
    offsets_ = 0;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    return go(At::kTensor);
  }

  bool field(const std::string& key) {
    const auto once = [&](bool& has, At next) {
      if (std::exchange(has, true)) refuse(key, " appears twice");
      return go(next);
    };
    if (key == "dtype") return once(has_dtype_, At::kDType);
    if (key == "shape") return once(has_shape_, At::kShape);
    if (key == "data_offsets") return once(has_offsets_, At::kOffsets);
    refuse("unknown key ", in_quotes(key), "; a tensor has dtype, shape and data_offsets");
  }

  template <class... Detail>
  [[noreturn]] void refuse(const Detail&... detail) const {
    reject(Failure::kData, where_, ": tensor ", in_quotes(name_), ": ", detail...);
  }

  [[noreturn]] void refuse_value(const std::string& got) const {
    switch (at_) {
      case At::kTensor:
        refuse("needs an object, got ", got);
      case At::kDType:
        refuse("dtype needs a string, got ", got);
      case At::kShape:
        refuse("shape needs a list, got ", got);
      case At::kShapeItem:
        refuse("shape needs whole numbers from 0, got ", got);
      case At::kOffsets:
        refuse("data_offsets needs [begin, end], got ", got);
      case At::kOffsetsItem:
        refuse("data_offsets needs whole numbers from 0, got ", got);
      case At::kMetadata:
        reject(Failure::kData, where_, ": __metadata__ is not an object");
      case At::kMetadataText:
        reject(Failure::kData, where_, ": __metadata__ ", in_quotes(name_), " needs a string, got ",
               got);
      default:
        reject(Failure::kData, where_, ": the header is not an object, but ", got);
    }
  }

  const std::string& where_;
  SafetensorsHeader& out_;
  At at_ = At::kStart;
  std::string name_;
  TensorInfo tensor_;
  int offsets_ = 0;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

// Bytes that shape and dtype ask for.
std::uint64_t wanted_bytes(const std::string& where, const std::string& name,
                           const TensorInfo& tensor) {
  std::uint64_t bits = static_cast<std::uint64_t>(safetensors_dtype_bits(tensor.dtype));
  bool overflow = false;
  for (const std::int64_t d : tensor.shape) {
    overflow |= __builtin_mul_overflow(bits, static_cast<std::uint64_t>(d), &bits);
  }
  // A zero behind an overflow must not excuse it: numel() multiplies in the same order.
  if (overflow)
    reject(Failure::kData, where, ": tensor ", in_quotes(name), ": its shape overflows");
  if (bits % 8 != 0) {
    reject(Failure::kData, where, ": tensor ", in_quotes(name), ": ", bits, " bits of ",
           tensor.dtype, " do not fill whole bytes");
  }
  return bits / 8;
}

void check_layout(const SafetensorsHeader& header, std::uint64_t data_bytes,
                  const std::string& where) {
  std::vector<const std::pair<const std::string, TensorInfo>*> order;
  order.reserve(header.tensors.size());
  for (const auto& entry : header.tensors) {
    const auto& [name, tensor] = entry;
    if (tensor.begin > tensor.end || tensor.end > data_bytes) {
      reject(Failure::kData, where, ": tensor ", in_quotes(name), ": data_offsets [", tensor.begin,
             ", ", tensor.end, "] do not lie in the file's ", data_bytes, " bytes of data");
    }
    const std::uint64_t want = wanted_bytes(where, name, tensor);
    if (tensor.end - tensor.begin != want) {
      reject(Failure::kData, where, ": tensor ", in_quotes(name), ": data_offsets give ",
             tensor.end - tensor.begin, " bytes, its shape and ", tensor.dtype, " need ", want);
    }
    order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::uint64_t filled = 0;
  for (const auto* entry : order) {
    const auto& [name, tensor] = *entry;
    if (tensor.begin != filled) {
      reject(Failure::kData, where, ": tensor ", in_quotes(name), " begins at byte ", tensor.begin,
             tensor.begin > filled ? ", a hole after byte " : ", inside a tensor that ends at ",
             filled);
    }
    filled = tensor.end;
  }
  if (filled != data_bytes) {
    reject(Failure::kData, where, ": ", data_bytes - filled,
           " bytes after the last tensor belong to none");
  }
}

}  // namespace

std::int64_t TensorInfo::numel() const {
  std::int64_t n = 1;
  for (const std::int64_t d : shape) n *= d;
  return n;
}

int safetensors_dtype_bits(std::string_view dtype) {
  for (const DTypeBits& d : kDTypes) {
    if (d.name == dtype) return d.bits;
  }
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes,
                                           const std::string& where) {
  // The library stops at a zero byte and skips a byte order mark, and both would let a file be two
  // things at once. So the object's own brackets have to be the first and the last byte.
  const std::size_t last = json.find_last_not_of(' ');
  if (json.empty() || json.front() != '{' || last == std::string_view::npos || json[last] != '}' ||
      json.find('\0') != std::string_view::npos) {
    reject(Failure::kData, where, ": the header is not a JSON object; is this a safetensors file?");
  }
  SafetensorsHeader header;
  HeaderReader reader(where, header);
  nlohmann::json::sax_parse(json.begin(), json.begin() + static_cast<std::ptrdiff_t>(last) + 1,
                            &reader);
  check_layout(header, data_bytes, where);
  return header;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 120;
  const bool cut = text.size() > kLongest;
  return nlohmann::json(std::string(text.substr(0, kLongest)) + (cut ? "..." : ""))
      .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

}  // namespace shoal
