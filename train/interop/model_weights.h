#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "train/interop/safetensors.h"

namespace shoal {

// The tensors of a model under DeepSeek's published names, whatever the files call them and however
// many files there are. Only headers are read at first.
class ModelWeights {
 public:
  // model.safetensors, or what model.safetensors.index.json names, or all shards
  // model-0000i-of-0000n.safetensors. Error(kData) names the file and the tensor: a missing or an
  // incomplete file, a tensor in two files, one that the index has and its file lacks (or the other
  // way round), two tensors that mean the same.
  static ModelWeights open(const std::string& folder);
  explicit ModelWeights(SafetensorsFile file);

  // Does the folder hold weights, whole or not?
  static bool lie_in(const std::string& folder);

  struct Part {
    std::size_t file = 0;
    std::string stored;  // the file's name for the tensor that it is in
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::int64_t first = 0;  // element of the stored tensor
  };
  const std::map<std::string, Part>& parts() const { return parts_; }
  const std::vector<SafetensorsFile>& files() const { return files_; }
  const std::string& path() const { return path_; }  // of the folder, or of the only file
  // FILE: tensor "as stored"
  std::string place_of(const Part& part) const;

  // As SafetensorsFile reads them; any other dtype is an Error(kData).
  std::vector<float> read_f32(const Part& part) const;
  std::vector<std::int64_t> read_i64(const Part& part) const;
  // As stored; of parts that are whole tensors.
  std::vector<std::byte> read_bytes(const Part& part) const;

 private:
  ModelWeights(std::string path, std::vector<SafetensorsFile> files);

  std::string path_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Part> parts_;
};

}  // namespace shoal
