#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "autograd/base/descriptor.h"
#include "train/interop/safetensors_header.h"

namespace shoal {

// A safetensors file: 8 bytes of little-endian header length, a JSON header, the tensors' bytes.
// Opening reads and checks the header alone (every length against the file before memory is taken
// for it); a tensor's bytes are read when they are asked for. Errors are Error(kData) and name the
// file, the tensor and what would be right.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  bool has(const std::string& name) const { return header_.tensors.count(name) > 0; }
  const TensorInfo& info(const std::string& name) const;  // the file must have it

  std::vector<float> read_f32(const std::string& name) const;  // F32; F16 and BF16 widen
  // `count` elements from `first` on.
  std::vector<float> read_f32(const std::string& name, std::int64_t first,
                              std::int64_t count) const;
  std::vector<std::int64_t> read_i64(const std::string& name) const;  // I64; I32 widens
  std::vector<std::byte> read_bytes(const std::string& name) const;   // any dtype, as stored

 private:
  SafetensorsFile(std::string path, Descriptor fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  void read_header(std::uint64_t size);
  void read_at(std::uint64_t offset, void* out, std::uint64_t bytes) const;
  [[noreturn]] void refuse_dtype(const std::string& name, const char* wanted) const;

  std::string path_;
  Descriptor fd_;
  std::uint64_t data_begin_ = 0;  // where the tensors' bytes begin in the file
  SafetensorsHeader header_;
};

struct TensorToWrite {
  std::string name;
  std::string dtype;  // "F32", "I64", ... : what `data` holds, row-major
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
};

// Writes the file as a whole or not at all: under another name in the same folder, synced, renamed.
// Same tensors, same bytes, whatever their order: wide types first, then by name, so that every
// tensor begins at a multiple of its element's size. "format" is "pt" unless `metadata` says
// otherwise (readers exist that refuse a file without it). Error(kDisk) when the disk refuses.
void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       std::map<std::string, std::string> metadata = {});

// What is wrong with the file, a sentence each: its structure, and floats that are not finite.
// Empty: nothing. A file that cannot be opened at all is an Error(kData).
std::vector<std::string> verify_safetensors(const std::string& path);

float f16_to_f32(std::uint16_t bits);   // exact, subnormals, infinities and NaN included
float bf16_to_f32(std::uint16_t bits);  // exact

}  // namespace shoal
