// prepare, inspect, verify: files without a model.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "autograd/base/check.h"
#include "autograd/base/printable.h"
#include "data/prepare.h"
#include "data/token_file.h"
#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/verify.h"
#include "train/cli/commands.h"
#include "train/config/document/document.h"
#include "train/config/published/model_json.h"
#include "train/interop/json_file.h"
#include "train/interop/model_folder.h"
#include "train/interop/model_weights.h"
#include "train/metrics/records.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

enum class Kind { kCheckpoint, kTokens, kSafetensors };

ModelWeights weights_of(const std::string& path) {
  return fs::is_directory(path) ? ModelWeights::open(path)
                                : ModelWeights(SafetensorsFile::open(path));
}

Kind kind_of(PosixIo& io, const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) reject(Failure::kData, path, ": there is no such file or folder");
  if (fs::is_directory(path, ignored)) {
    if (is_checkpoint_path(io, path)) return Kind::kCheckpoint;
    if (ModelWeights::lie_in(path)) return Kind::kSafetensors;
    if (fs::exists(path + "/config.yaml", ignored)) {
      reject(Failure::kData, path, ": holds no checkpoint yet");
    }
  } else {
    if (path.ends_with(".safetensors")) return Kind::kSafetensors;
    if (path.ends_with(".tokens") || is_token_file(path)) return Kind::kTokens;
  }
  reject(Failure::kData, path,
         ": is no run, checkpoint, .tokens file, .safetensors file or model folder");
}

void print_tensor(const std::string& name, const std::string& type,
                  const std::vector<std::int64_t>& shape, const std::string& rest) {
  std::cout << std::left << std::setw(52) << printable(name) << ' ' << std::setw(5) << type << ' '
            << std::setw(18) << shape_text(shape) << rest << '\n';
}

// All of them, also those behind a damaged one; then the error.
void inspect_checkpoints(PosixIo& io, const std::string& path, bool json) {
  Json list = Json::array();
  std::string damage;
  for (const CheckpointTable& table : inspect_checkpoint(io, path)) {
    if (!table.damage.empty()) {
      damage += (damage.empty() ? "" : "; ") + table.damage;
      if (!json) std::cout << printable(table.path) << ": damaged\n";
      list.push_back({{"path", table.path}, {"problem", table.damage}});
      continue;
    }
    Json tensors = Json::array();
    if (!json) {
      std::cout << printable(table.path) << ": step " << table.manifest.step << ", "
                << table.manifest.tokens << " tokens, " << printable(table.manifest.info.program)
                << ", " << table.manifest.created << '\n';
    }
    for (const CheckpointTable::Row& row : table.rows) {
      const std::string type(name_of(row.type));
      if (!json) {
        print_tensor(row.path, type, row.shape, concat("rms ", row.rms, "  max ", row.most));
      }
      tensors.push_back({{"name", row.path},
                         {"type", type},
                         {"shape", row.shape},
                         {"rms", json_number(row.rms)},
                         {"max", json_number(row.most)},
                         {"not_finite", row.not_finite}});
    }
    list.push_back({{"path", table.path},
                    {"step", table.manifest.step},
                    {"tokens", table.manifest.tokens},
                    {"tensors", tensors}});
  }
  if (json) std::cout << line_of(Json{{"checkpoints", list}}) << '\n';
  if (!damage.empty()) reject(Failure::kData, damage);
}

void inspect_tokens(const std::string& path, bool json) {
  const TokenFileInfo info = read_token_file_info(path);
  if (json) {
    std::cout << line_of(Json{{"path", path},
                              {"documents", info.documents},
                              {"tokens", info.tokens},
                              {"vocab_size", info.vocab_size},
                              {"token_bytes", info.token_bytes},
                              {"tokenizer", info.tokenizer},
                              {"sha256", info.sha256}})
              << '\n';
    return;
  }
  std::cout << printable(path) << ": " << info.documents << " documents, " << info.tokens
            << " tokens of " << info.vocab_size << " ids in " << info.token_bytes
            << " bytes each\ntokenizer " << printable(info.tokenizer) << "\nsha256    "
            << info.sha256 << '\n';
}

void inspect_weights(const std::string& path, bool json) {
  const ModelWeights weights = weights_of(path);
  Json tensors = Json::array();
  for (const SafetensorsFile& file : weights.files()) {
    for (const auto& [name, info] : file.tensors()) {
      if (!json) print_tensor(name, info.dtype, info.shape, "");
      tensors.push_back({{"name", name}, {"type", info.dtype}, {"shape", info.shape}});
    }
  }
  if (json) std::cout << line_of(Json{{"path", path}, {"tensors", tensors}}) << '\n';
}

// The folder of another kind of model is whole or damaged for another program to say.
void require_own_model(const std::string& folder) {
  const std::string file = folder + "/config.json";
  nlohmann::json type;
  try {
    if (fs::exists(file)) type = read_json_object(file, kMostConfigBytes).value("model_type", type);
  } catch (const Error&) {
    return;  // damage
  }
  if (type.is_null() || type == kTransformersModelType || type == kOwnModelType) return;
  reject(Failure::kData, file, ": model_type ", excerpt(type.dump()), " is no model of ours; \"",
         kTransformersModelType, "\" and \"", kOwnModelType, "\" can be verified");
}

// Of the files one by one, and then of how they fit together.
std::vector<std::string> verify_weights(const std::string& path) {
  if (!fs::is_directory(path)) return verify_safetensors(path);
  require_own_model(path);
  std::vector<std::string> problems;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() != ".safetensors") continue;
    const std::string file = entry.path().string();
    for (const std::string& problem : verify_safetensors(file)) {
      problems.push_back(problem.starts_with(file) ? problem : file + ": " + problem);
    }
  }
  std::sort(problems.begin(), problems.end());
  if (!problems.empty()) return problems;
  try {
    if (fs::exists(path + "/config.json")) {
      check_model_folder(path);
    } else {
      (void)ModelWeights::open(path);  // weights alone
    }
  } catch (const Error& error) {
    std::istringstream lines(error.what());
    for (std::string line; std::getline(lines, line);) problems.push_back(line);
  }
  return problems;
}

}  // namespace

int prepare_command(const PrepareArguments& args) {
  const auto tokenizer = make_tokenizer(args.tokenizer);
  const Prepared prepared = prepare(args.out, args.inputs, *tokenizer, args.seed);
  for (const std::string& warning : prepared.warnings) spdlog::warn("{}", printable(warning));
  std::cout << args.out << ": " << prepared.file.documents << " documents, " << prepared.file.tokens
            << " tokens\n";
  return 0;
}

int inspect_command(const std::string& path, bool json) {
  PosixIo io;
  switch (kind_of(io, path)) {
    case Kind::kCheckpoint:
      inspect_checkpoints(io, path, json);
      break;
    case Kind::kTokens:
      inspect_tokens(path, json);
      break;
    case Kind::kSafetensors:
      inspect_weights(path, json);
      break;
  }
  return 0;
}

int verify_command(const std::string& path, bool json) {
  PosixIo io;
  std::vector<std::string> problems;
  switch (kind_of(io, path)) {
    case Kind::kCheckpoint:
      problems = verify_checkpoint(io, path);
      break;
    case Kind::kTokens:
      problems = verify_token_file(path);
      break;
    case Kind::kSafetensors:
      problems = verify_weights(path);
      break;
  }
  if (json) {
    std::cout << line_of(Json{{"passed", problems.empty()}, {"path", path}, {"problems", problems}})
              << '\n';
  } else {
    std::cout << printable(path) << (problems.empty() ? ": whole\n" : ": damaged\n");
    for (const std::string& problem : problems) std::cout << "  " << printable(problem) << '\n';
  }
  if (problems.empty()) return 0;
  std::cerr << "shoal: verify: " << printable(path) << " is damaged\n";
  return static_cast<int>(Failure::kComparison);
}

}  // namespace shoal
