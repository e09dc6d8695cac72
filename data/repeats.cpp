#include "data/repeats.h"

#include <algorithm>
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "autograd/base/check.h"

namespace shoal {

void warn_of_files_read_twice(Documents& documents, std::size_t train_files) {
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::size_t> seen;
  std::vector<std::string> twice, both;
  for (std::size_t f = 0; f < documents.files.size(); ++f) {
    const SourceFile& file = documents.files[f];
    const auto [at, is_new] = seen.try_emplace({file.device, file.inode}, f);
    if (is_new) continue;
    const bool crosses = (at->second < train_files) != (f < train_files);
    (crosses ? both : twice).push_back(file.path);
  }
  const auto say = [&](const std::vector<std::string>& files, const char* what) {
    if (files.empty()) return;
    documents.warnings.push_back(
        concat(files.front(), files.size() > 1 ? concat(" and ", files.size() - 1, " more") : "",
               ": ", what));
  };
  say(twice, "named twice, so that it counts twice");
  say(both, "in data.train and in data.validation, which then measures what was learned by heart");
}

void warn_of_copies(Documents& documents, std::span<const std::uint64_t> of_train,
                    const Split& split, double share) {
  const std::string skew = skew_by_copies(of_train, split, share);
  if (!skew.empty()) documents.warnings.push_back(skew);
  const auto count = static_cast<std::int64_t>(of_train.size());
  const std::int64_t copies = count - count_distinct({of_train.begin(), of_train.end()});
  if (skew.empty() && copies > 0 && copies * 5 >= count) {
    documents.warnings.push_back(concat("data.train: ", copies, " of ", count,
                                        " documents are copies of others; each counts"));
  }
}

void warn_of_overlap(Documents& documents, std::span<const std::uint64_t> hashes,
                     std::int64_t train_count) {
  const auto end = hashes.begin() + static_cast<std::ptrdiff_t>(train_count);
  const std::unordered_set<std::uint64_t> trained(hashes.begin(), end);
  const auto known =
      std::count_if(end, hashes.end(), [&](std::uint64_t hash) { return trained.contains(hash); });
  if (known == 0) return;
  documents.warnings.push_back(concat("data.validation: ", known, " of ", hashes.end() - end,
                                      " documents are in data.train too"));
}

}  // namespace shoal
