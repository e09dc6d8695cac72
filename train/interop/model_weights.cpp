#include "train/interop/model_weights.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "autograd/base/check.h"
#include "train/interop/weight_index.h"
#include "train/interop/weight_names.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMostParts = std::size_t{1} << 20;

bool is_there(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// n of model-XXXXX-of-n.safetensors.
std::optional<std::int64_t> shards_by_name(const std::string& name) {
  const std::string pattern = shard_name(0, 0);
  if (name.size() != pattern.size()) return std::nullopt;
  std::string number, count;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool digit = name[i] >= '0' && name[i] <= '9';
    if (pattern[i] == '0' ? !digit : name[i] != pattern[i]) return std::nullopt;
    if (digit) (i < pattern.size() / 2 ? number : count) += name[i];
  }
  return std::stoll(count);
}

// Of a folder without an index: its shards, all of which have to be there.
std::vector<std::string> shards_in(const std::string& folder) {
  std::set<std::int64_t> counts;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (const auto count = shards_by_name(entry.path().filename().string())) counts.insert(*count);
  }
  if (counts.size() > 1) {
    reject(Failure::kData, folder, ": has shards of ", *counts.begin(), " and of ",
           *std::next(counts.begin()), " files, and no ", kIndexName, " that says which count");
  }
  std::vector<std::string> names;
  for (std::int64_t i = 1; !counts.empty() && i <= *counts.begin(); ++i) {
    names.push_back(shard_name(i, *counts.begin()));
    if (!is_there(folder + "/" + names.back())) {
      reject(Failure::kData, folder, '/', names.back(), ": is missing; its name is one of ",
             *counts.begin(), " shards");
    }
  }
  return names;
}

void check_index(const WeightIndex& index, const std::string& path,
                 const std::vector<SafetensorsFile>& files) {
  std::map<std::string, const SafetensorsFile*> by_name;
  for (const SafetensorsFile& file : files) {
    by_name[fs::path(file.path()).filename().string()] = &file;
  }
  for (const auto& [tensor, name] : index.file_of) {
    if (!by_name.at(name)->has(tensor)) {
      reject(Failure::kData, by_name.at(name)->path(), ": tensor ", in_quotes(tensor),
             " is missing; ", path, " says it is here");
    }
  }
  for (const auto& [name, file] : by_name) {
    for (const auto& [tensor, info] : file->tensors()) {
      const auto listed = index.file_of.find(tensor);
      if (listed == index.file_of.end()) {
        reject(Failure::kData, file->path(), ": tensor ", in_quotes(tensor), " is not in ", path);
      }
      if (listed->second != name) {
        reject(Failure::kData, file->path(), ": tensor ", in_quotes(tensor), " is also in ",
               listed->second, "; expected in one file");
      }
    }
  }
}

}  // namespace

bool ModelWeights::lie_in(const std::string& folder) {
  if (is_there(folder + "/" + kWeightsName) || is_there(folder + "/" + kIndexName)) return true;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (shards_by_name(entry.path().filename().string())) return true;
  }
  return false;
}

ModelWeights ModelWeights::open(const std::string& folder) {
  const std::string whole = folder + "/" + kWeightsName, index_path = folder + "/" + kIndexName;
  const bool has_index = is_there(index_path);
  std::vector<SafetensorsFile> files;
  if (is_there(whole)) {
    if (has_index) {
      reject(Failure::kData, folder, ": has ", kWeightsName, " and ", kIndexName,
             "; remove the one that is not meant");
    }
    files.push_back(SafetensorsFile::open(whole));
    return {folder, std::move(files)};
  }
  std::optional<WeightIndex> index;
  std::vector<std::string> names;
  if (has_index) {
    index = read_weight_index(index_path);
    std::map<std::string, std::string> first_tensor;  // of each file, for the message
    for (const auto& [tensor, name] : index->file_of) first_tensor.try_emplace(name, tensor);
    for (const auto& [name, tensor] : first_tensor) {
      if (!is_there(folder + "/" + name)) {
        reject(Failure::kData, folder, '/', name, ": is missing; ", index_path, " says tensor ",
               in_quotes(tensor), " is in it");
      }
      names.push_back(name);
    }
  } else {
    names = shards_in(folder);
  }
  if (names.empty()) {
    reject(Failure::kData, folder, ": holds no weights; expected ", kWeightsName,
           ", or shards and ", kIndexName);
  }
  for (const std::string& name : names) files.push_back(SafetensorsFile::open(folder + "/" + name));
  if (index) check_index(*index, index_path, files);
  return {folder, std::move(files)};
}

ModelWeights::ModelWeights(SafetensorsFile file) : path_(file.path()) {
  std::vector<SafetensorsFile> files;
  files.push_back(std::move(file));
  *this = ModelWeights(path_, std::move(files));
}

ModelWeights::ModelWeights(std::string path, std::vector<SafetensorsFile> files)
    : path_(std::move(path)), files_(std::move(files)) {
  for (std::size_t f = 0; f < files_.size(); ++f) {
    for (const auto& [stored, info] : files_[f].tensors()) {
      // Of a tensor that holds all experts: its first dimension makes as many names.
      if (info.shape.size() == 3 &&
          parts_.size() + static_cast<std::size_t>(info.shape[0]) > kMostParts) {
        reject(Failure::kData, files_[f].path(), ": tensor ", in_quotes(stored),
               " makes more than ", kMostParts, " tensors in all");
      }
      for (PublishedPart& p : published_parts(stored, info.shape, files_[f].path())) {
        const Part part{f, stored, info.dtype, std::move(p.shape), p.first};
        const auto [at, fresh] = parts_.try_emplace(p.name, part);
        if (fresh) continue;
        reject(Failure::kData, place_of(part), " is there twice: the other one is ",
               place_of(at->second));
      }
    }
  }
}

std::string ModelWeights::place_of(const Part& part) const {
  return concat(files_[part.file].path(), ": tensor ", in_quotes(part.stored));
}

std::vector<float> ModelWeights::read_f32(const Part& part) const {
  std::int64_t count = 1;
  for (const std::int64_t d : part.shape) count *= d;
  return files_[part.file].read_f32(part.stored, part.first, count);
}

std::vector<std::byte> ModelWeights::read_bytes(const Part& part) const {
  return files_[part.file].read_bytes(part.stored);
}

std::vector<std::int64_t> ModelWeights::read_i64(const Part& part) const {
  return files_[part.file].read_i64(part.stored);
}

}  // namespace shoal
