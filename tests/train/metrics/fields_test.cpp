#include "train/metrics/fields.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/support/paths.h"

namespace shoal {
namespace {

template <class Item>
void expect_complete(const std::vector<Item>& items) {
  std::set<std::string> names;
  for (const Item& item : items) {
    EXPECT_TRUE(names.insert(item.name).second) << item.name;
    EXPECT_FALSE(std::string(item.meaning).empty()) << item.name;
  }
}

TEST(Fields, AreThereOnceAndSayWhatTheyMean) {
  expect_complete(step_fields());
  expect_complete(eval_fields());
  expect_complete(layer_fields());
  expect_complete(group_fields());
  expect_complete(event_kinds());
  for (const EventKind& event : event_kinds()) expect_complete(event.fields);
}

// Whatever a record may hold.
TEST(Fields, KnowEveryFieldOfARecord) {
  LayerRecord layer;
  layer.expert_load = {3};
  layer.index_kl = layer.index_captured = layer.index_recall = 0.5;
  layer.fp4_zeros = layer.fp4_distance = 0.5;
  for (const Field<LayerRecord>& field : layer_fields()) {
    const FieldPlace at = field.at == nullptr ? FieldPlace() : field.at(layer);
    if (field.board != nullptr && std::holds_alternative<double*>(at)) *std::get<double*>(at) = 0.5;
  }
  GroupRecord group;
  group.momentum_rank = 2.0;
  EvalRecord task;
  task.answers = 3;
  task.sources = {{"a.txt", 1.0, 2.0, 3, 4}};
  for (const Json& line : {json_of(StepRecord()), json_of(EvalRecord()), json_of(task),
                           json_of(LayerRecord()), json_of(layer), json_of(group)}) {
    EXPECT_EQ(undocumented(line), "");
  }
  EXPECT_EQ(json_of(task).size(), eval_fields().size() + 1);    // and `kind`
  EXPECT_EQ(json_of(layer).size(), layer_fields().size() + 1);  // likewise
  EXPECT_EQ(json_of(group).size(), group_fields().size() + 1);
}

TEST(Fields, AnUnknownOneIsNamed) {
  const auto of = [](const char* line) { return undocumented(*parse_line(line)); };
  EXPECT_EQ(of(R"({"kind":"step","step":1,"lost":2,"found":3})"),
            "step: no such field: lost, found");
  EXPECT_EQ(of(R"({"kind":"pets"})"), "no such kind: 'pets'");
  EXPECT_EQ(of(R"({"kind":"event","step":1,"event":"party","time":1})"), "no such event: 'party'");
  EXPECT_EQ(of(R"({"kind":"event","step":1,"event":"signal","signal":15,"from":1,"time":1})"),
            "event signal: no such field: from");
}

// SHOAL_UPDATE_DOCS=1 writes the page instead.
TEST(Fields, TheDocumentationPageIsNotStale) {
  const std::string path = source_folder() + "/docs/metrics.md";
  if (std::getenv("SHOAL_UPDATE_DOCS") != nullptr) std::ofstream(path) << metrics_markdown();
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  EXPECT_EQ(text.str(), metrics_markdown())
      << "run SHOAL_UPDATE_DOCS=1 metrics_test --gtest_filter='Fields.*'";
}

}  // namespace
}  // namespace shoal
