#include <algorithm>
#include <nlohmann/json.hpp>

#include "autograd/base/atomic_file.h"
#include "autograd/base/check.h"
#include "train/interop/safetensors.h"

namespace shoal {
namespace {

std::uint64_t bytes_of(const TensorToWrite& tensor) {
  std::uint64_t bits = static_cast<std::uint64_t>(safetensors_dtype_bits(tensor.dtype));
  CHECK(bits > 0, "write_safetensors: ", tensor.name, " has unknown dtype ", tensor.dtype);
  for (const std::int64_t d : tensor.shape) {
    CHECK(d >= 0 && !__builtin_mul_overflow(bits, static_cast<std::uint64_t>(d), &bits),
          "write_safetensors: bad shape of ", tensor.name);
  }
  CHECK(bits % 8 == 0, "write_safetensors: ", tensor.name, " does not fill whole bytes");
  return bits / 8;
}

std::string header_json(const std::vector<const TensorToWrite*>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::string json = "{\"__metadata__\":" + nlohmann::json(metadata).dump();
  std::uint64_t begin = 0;
  for (const TensorToWrite* tensor : tensors) {
    const std::uint64_t end = begin + bytes_of(*tensor);
    // The library sorts keys, other writers put them in this order: so by hand.
    json += concat(",", nlohmann::json(tensor->name).dump(), ":{\"dtype\":\"", tensor->dtype,
                   "\",\"shape\":", nlohmann::json(tensor->shape).dump(), ",\"data_offsets\":[",
                   begin, ",", end, "]}");
    begin = end;
  }
  json += '}';
  while (json.size() % 8 != 0) json += ' ';
  return json;
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       std::map<std::string, std::string> metadata) {
  metadata.try_emplace("format", "pt");
  std::vector<const TensorToWrite*> order;
  order.reserve(tensors.size());
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    const int bits_a = safetensors_dtype_bits(a->dtype), bits_b = safetensors_dtype_bits(b->dtype);
    return bits_a != bits_b ? bits_a > bits_b : a->name < b->name;
  });
  std::map<std::string, int> count;
  for (const TensorToWrite* tensor : order) {
    CHECK(++count[tensor->name] == 1, "write_safetensors: ", tensor->name, " twice");
    CHECK(tensor->name != "__metadata__", "write_safetensors: __metadata__ is no tensor's name");
    CHECK(tensor->data != nullptr || bytes_of(*tensor) == 0, "write_safetensors: no data for ",
          tensor->name);
  }
  const std::string header = header_json(order, metadata);
  CHECK(header.size() <= kMaxSafetensorsHeader, "write_safetensors: too many tensors");
  const std::uint64_t length = header.size();

  AtomicFile file(path);
  file.write({reinterpret_cast<const char*>(&length), sizeof(length)});
  file.write(header);
  for (const TensorToWrite* tensor : order) {
    file.write({static_cast<const char*>(tensor->data), bytes_of(*tensor)});
  }
  file.commit();
}

}  // namespace shoal
