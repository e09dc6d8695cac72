#include "train/interop/safetensors.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/read_file.h"

namespace shoal {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are read as they are stored");

constexpr std::uint64_t kPrefix = 8;     // bytes of the header's length
constexpr std::size_t kBlock = 1 << 16;  // elements that are widened or examined at a time

bool is_float(const std::string& dtype) {
  return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "F64";
}

double element(const std::byte* at, const std::string& dtype) {
  std::uint16_t half;
  if (dtype == "F64") {
    double value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  if (dtype == "F32") {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  std::memcpy(&half, at, sizeof(half));
  return dtype == "F16" ? f16_to_f32(half) : bf16_to_f32(half);
}

}  // namespace

float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t fraction = bits & 0x3ffU;
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24, which float holds exactly
    const float magnitude = static_cast<float>(fraction) * 0x1.0p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t wide = exponent == 0x1f ? 0xffU : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}

float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  OpenFile opened = open_regular(path);
  SafetensorsFile file(path, std::move(opened.fd));
  file.read_header(opened.bytes);
  return file;
}

void SafetensorsFile::read_header(std::uint64_t size) {
  if (size < kPrefix + 2) {
    reject(Failure::kData, path_, ": ", size, " bytes are too few for a safetensors file");
  }
  std::uint64_t length;
  read_at(0, &length, kPrefix);
  if (length > size - kPrefix) {
    reject(Failure::kData, path_, ": its header should have ", length, " bytes, but the file has ",
           size, "; it is cut short or is no safetensors file");
  }
  if (length > kMaxSafetensorsHeader) {
    reject(Failure::kData, path_, ": a header of ", length, " bytes; the format allows ",
           kMaxSafetensorsHeader);
  }
  std::string json(length, '\0');
  read_at(kPrefix, json.data(), length);
  data_begin_ = kPrefix + length;
  header_ = parse_safetensors_header(json, size - data_begin_, path_);
}

void SafetensorsFile::read_at(std::uint64_t offset, void* out, std::uint64_t bytes) const {
  const std::int64_t got = read_all(fd_, out, bytes, offset);
  if (got < 0) reject(Failure::kData, path_, ": cannot be read: ", std::strerror(errno));
  if (static_cast<std::uint64_t>(got) < bytes) {
    reject(Failure::kData, path_, ": became shorter while it was read");
  }
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto found = header_.tensors.find(name);
  if (found == header_.tensors.end()) {
    reject(Failure::kData, path_, ": tensor ", in_quotes(name), " is missing");
  }
  return found->second;
}

void SafetensorsFile::refuse_dtype(const std::string& name, const char* wanted) const {
  reject(Failure::kData, path_, ": tensor ", in_quotes(name), " has dtype ", info(name).dtype,
         ", this place reads ", wanted);
}

std::vector<float> SafetensorsFile::read_f32(const std::string& name) const {
  return read_f32(name, 0, info(name).numel());
}

std::vector<float> SafetensorsFile::read_f32(const std::string& name, std::int64_t first,
                                             std::int64_t count) const {
  const TensorInfo& tensor = info(name);
  const bool f16 = tensor.dtype == "F16";
  if (!f16 && tensor.dtype != "F32" && tensor.dtype != "BF16") {
    refuse_dtype(name, "F32, F16 or BF16");
  }
  CHECK(first >= 0 && count >= 0 && first <= tensor.numel() - count, name, ": elements ", first,
        " to ", first + count, " of ", tensor.numel());
  std::vector<float> values(static_cast<std::size_t>(count));
  const auto begin = static_cast<std::uint64_t>(first);
  const std::uint64_t offset = data_begin_ + tensor.begin;
  if (tensor.dtype == "F32") {
    read_at(offset + sizeof(float) * begin, values.data(), sizeof(float) * values.size());
    return values;
  }
  std::vector<std::uint16_t> halves(std::min(values.size(), kBlock));
  for (std::size_t i = 0; i < values.size(); i += halves.size()) {
    const std::size_t part = std::min(halves.size(), values.size() - i);
    read_at(offset + 2 * (begin + i), halves.data(), 2 * part);
    std::transform(halves.begin(), halves.begin() + static_cast<std::ptrdiff_t>(part),
                   values.begin() + static_cast<std::ptrdiff_t>(i), f16 ? f16_to_f32 : bf16_to_f32);
  }
  return values;
}

std::vector<std::int64_t> SafetensorsFile::read_i64(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  const auto count = static_cast<std::size_t>(tensor.numel());
  const std::uint64_t offset = data_begin_ + tensor.begin;
  if (tensor.dtype == "I32") {
    std::vector<std::int32_t> narrow(count);
    read_at(offset, narrow.data(), tensor.end - tensor.begin);
    return {narrow.begin(), narrow.end()};
  }
  if (tensor.dtype != "I64") refuse_dtype(name, "I64 or I32");
  std::vector<std::int64_t> values(count);
  read_at(offset, values.data(), tensor.end - tensor.begin);
  return values;
}

std::vector<std::byte> SafetensorsFile::read_bytes(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  std::vector<std::byte> bytes(tensor.end - tensor.begin);
  read_at(data_begin_ + tensor.begin, bytes.data(), bytes.size());
  return bytes;
}

// A file that reads cleanly may still hold a run that went wrong: the format has no checksum, and
// a damaged exponent often shows as a number that is not finite.
std::vector<std::string> verify_safetensors(const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) {
    reject(Failure::kData, path, ": cannot be opened: ", std::strerror(errno));
  }
  std::vector<std::string> problems;
  try {
    const SafetensorsFile file = SafetensorsFile::open(path);
    for (const auto& [name, tensor] : file.tensors()) {
      if (!is_float(tensor.dtype)) continue;
      const std::vector<std::byte> bytes = file.read_bytes(name);
      const std::size_t size = static_cast<std::size_t>(safetensors_dtype_bits(tensor.dtype)) / 8;
      std::size_t bad = 0, first = 0;
      for (std::size_t i = 0; i < bytes.size() / size; ++i) {
        if (std::isfinite(element(&bytes[i * size], tensor.dtype))) continue;
        if (bad++ == 0) first = i;
      }
      if (bad == 0) continue;
      problems.push_back(concat("tensor ", in_quotes(name), ": ", bad, " of ", bytes.size() / size,
                                " values are not finite, the first at ", first));
    }
  } catch (const Error& error) {
    problems.emplace_back(error.what());
  }
  return problems;
}

}  // namespace shoal
