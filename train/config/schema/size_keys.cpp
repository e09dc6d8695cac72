#include "train/config/schema/size_keys.h"

#include <algorithm>
#include <array>

#include "train/config/document/suggest.h"
#include "train/config/schema/values.h"

namespace shoal {
namespace {

struct Member {
  const char* name;
  std::int64_t SizesSpec::*field;
};
constexpr std::array<Member, 4> kMembers = {{{"from_step", &SizesSpec::from_step},
                                             {"sequence_length", &SizesSpec::sequence_length},
                                             {"batch_tokens", &SizesSpec::batch_tokens},
                                             {"micro_batch", &SizesSpec::micro_batch}}};

std::optional<SizesSpec> read_entry(const Node& node, const std::string& key, Problems& problems) {
  if (node.kind != Node::Kind::kMap || node.find("from_step") == nullptr) {
    problems.add(node.place, key,
                 "an entry needs from_step, such as {from_step: 100, sequence_length: 2048}");
    return std::nullopt;
  }
  SizesSpec sizes;
  bool good = true;
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    const auto member = std::find_if(kMembers.begin(), kMembers.end(),
                                     [&](const Member& m) { return name == m.name; });
    if (member == kMembers.end()) {
      std::vector<std::string> names;
      names.reserve(std::size(kMembers));
      for (const Member& m : kMembers) names.emplace_back(m.name);
      const auto meant = suggest(name, names);
      problems.add(node.keys[i].place, key + "." + name, "unknown key; ",
                   meant ? "did you mean '" + *meant + "'?"
                         : "known here: from_step, sequence_length, batch_tokens, micro_batch");
      good = false;
      continue;
    }
    const double low = member->field == &SizesSpec::from_step ? 0 : 1;
    const auto value = read_integer(node.items[i], key + "." + name,
                                    {.low = low, .high = static_cast<double>(kMaxSize)}, problems);
    good = good && value;
    if (value) sizes.*member->field = *value;
  }
  return good ? std::optional(sizes) : std::nullopt;
}

}  // namespace

std::optional<std::vector<SizesSpec>> read_sizes(const Node& node, const std::string& key,
                                                 Problems& problems) {
  if (node.kind != Node::Kind::kList) {
    problems.add(node.place, key, "has ", describe(node),
                 "; give a list, such as [{from_step: 100, sequence_length: 2048}]");
    return std::nullopt;
  }
  std::vector<SizesSpec> all;
  for (const Node& item : node.items) {
    const auto sizes = read_entry(item, key, problems);
    if (!sizes) return std::nullopt;
    if (!all.empty() && sizes->from_step <= all.back().from_step) {
      problems.add(item.place, key, "from_step ", sizes->from_step, " follows from_step ",
                   all.back().from_step, "; give them in rising order");
      return std::nullopt;
    }
    all.push_back(*sizes);
  }
  return all;
}

nlohmann::json sizes_json(const std::vector<SizesSpec>& all) {
  nlohmann::json list = nlohmann::json::array();
  for (const SizesSpec& sizes : all) {
    nlohmann::json entry = {{"from_step", sizes.from_step}};
    for (const Member& m : kMembers) {
      if (sizes.*m.field > 0) entry[m.name] = sizes.*m.field;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace shoal
