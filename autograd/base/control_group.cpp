#include "autograd/base/control_group.h"

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <map>
#include <sstream>
#include <string_view>
#include <vector>

namespace shoal {
namespace {

// The words of a small file, split at blanks and line ends; none where it cannot be read.
std::vector<std::string> words_of(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// "max", -1 and what is no number mean no limit.
std::optional<double> number(const std::string& word) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (end == word.c_str() || *end != '\0' || !(value >= 0)) return std::nullopt;
  return value;
}

std::optional<double> number_in(const std::string& path) {
  const std::vector<std::string> words = words_of(path);
  return words.empty() ? std::nullopt : number(words.front());
}

// Of memory.stat, "name value" pairs: the sum of those that are there.
double sum_of(const std::string& path, std::initializer_list<std::string_view> names) {
  const std::vector<std::string> words = words_of(path);
  double sum = 0;
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    if (std::find(names.begin(), names.end(), words[i]) == names.end()) continue;
    sum += number(words[i + 1]).value_or(0);
  }
  return sum;
}

// Lines "4:cpu,cpuacct:/path" of version 1 and "0::/path" of version 2, by controller ("": v2).
std::map<std::string, std::string> groups_of(const std::string& path) {
  std::map<std::string, std::string> groups;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    std::string name;
    do {
      name.clear();
      std::getline(controllers, name, ',');
      groups[name] = line.substr(second + 1);
    } while (controllers);
  }
  return groups;
}

template <class Number>
void tighten(std::optional<Number>& limit, double value) {
  // Version 1 writes "none" as a number near 2^63.
  if (value >= 0x1.0p62) return;
  const auto found = static_cast<Number>(value);
  limit = limit ? std::min(*limit, found) : found;
}

struct Left {
  ControlGroup& out;

  void memory(double limit, double used, double cache) const {
    tighten(out.memory, std::max(0.0, limit - std::max(0.0, used - cache)));
  }

  void version_2(const std::string& folder) const {
    const std::vector<std::string> quota = words_of(folder + "/cpu.max");
    if (quota.size() == 2) cpu(number(quota[0]), number(quota[1]));
    for (const char* name : {"/memory.max", "/memory.high"}) {
      const auto limit = number_in(folder + name);
      if (!limit) continue;
      memory(*limit, number_in(folder + "/memory.current").value_or(0),
             sum_of(folder + "/memory.stat", {"inactive_file", "active_file", "slab_reclaimable"}));
    }
  }

  void version_1_memory(const std::string& folder) const {
    const auto limit = number_in(folder + "/memory.limit_in_bytes");
    if (!limit || *limit >= 0x1.0p62) return;
    memory(*limit, number_in(folder + "/memory.usage_in_bytes").value_or(0),
           sum_of(folder + "/memory.stat", {"total_inactive_file", "total_active_file"}));
  }

  void version_1_cpu(const std::string& folder) const {
    cpu(number_in(folder + "/cpu.cfs_quota_us"), number_in(folder + "/cpu.cfs_period_us"));
  }

  void cpu(std::optional<double> quota, std::optional<double> period) const {
    if (quota && period && *quota > 0 && *period > 0) tighten(out.cores, *quota / *period);
  }
};

// Calls fn for the group and those around it. Where the path is not to be seen (a container's own
// group is its root), only for the part of it that is.
template <class Fn>
void upward(const std::string& mount, std::string path, const Fn& fn) {
  while (path.ends_with('/')) path.pop_back();
  for (;;) {
    fn(mount + path);
    if (path.empty()) return;
    path.resize(path.rfind('/') == path.npos ? 0 : path.rfind('/'));
  }
}

}  // namespace

ControlGroup read_control_group(const std::string& root) {
  const std::map<std::string, std::string> groups = groups_of(root + "/proc/self/cgroup");
  const auto path = [&](const char* controller) {
    const auto found = groups.find(controller);
    return found == groups.end() ? std::string() : found->second;
  };
  const std::string mount = root + "/sys/fs/cgroup";
  ControlGroup out;
  const Left left{out};
  for (const char* v2 : {"", "/unified"}) {
    upward(mount + v2, path(""), [&](const std::string& folder) { left.version_2(folder); });
  }
  upward(mount + "/memory", path("memory"),
         [&](const std::string& folder) { left.version_1_memory(folder); });
  for (const char* cpu : {"/cpu", "/cpu,cpuacct"}) {  // mostly two names of one folder
    upward(mount + cpu, path("cpu"),
           [&](const std::string& folder) { left.version_1_cpu(folder); });
  }
  return out;
}

}  // namespace shoal
