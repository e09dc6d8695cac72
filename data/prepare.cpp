#include "data/prepare.h"

#include <filesystem>

#include "autograd/base/check.h"
#include "autograd/base/descriptor.h"
#include "data/permutation.h"
#include "data/repeats.h"
#include "data/text_source.h"

namespace shoal {

namespace fs = std::filesystem;

Prepared prepare(const std::string& out, const std::vector<std::string>& inputs,
                 const Tokenizer& tokenizer, std::uint64_t seed) {
  const fs::path path(out);
  std::error_code ignored;
  if (path.extension() != ".tokens") {
    reject(Failure::kUsage, out,
           ": the output's name has to end in .tokens, or it would be read "
           "as text");
  }
  if (fs::exists(fs::symlink_status(path, ignored))) {
    reject(Failure::kUsage, out, ": already exists; remove it or choose another name");
  }
  if (path.has_parent_path() && !fs::is_directory(path.parent_path(), ignored)) {
    reject(Failure::kUsage, out, ": there is no folder ", path.parent_path().string());
  }
  // Before the texts are read.
  const std::string obstacle =
      obstacle_to_writing(path.has_parent_path() ? path.parent_path().string() : ".");
  if (!obstacle.empty()) reject(Failure::kDisk, out, ": cannot be written: ", obstacle);
  if (inputs.empty()) reject(Failure::kUsage, "prepare: name at least one file or folder to read");

  Documents documents;
  for (const std::string& input : inputs) read_documents(input, tokenizer, documents);
  warn_of_files_read_twice(documents, documents.files.size());
  const KeyedPermutation shuffle(documents.count(), Rng(seed, Purpose::kDataOrder));
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < documents.count(); ++i) order.push_back(shuffle(i));
  write_token_file(out, documents, order, tokenizer);
  return {read_token_file_info(out), documents.warnings};  // and so it was read back
}

}  // namespace shoal
