#include "train/metrics/metrics_log.h"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <sstream>

#include "autograd/base/check.h"
#include "tests/support/temporary_folder.h"
#include "train/metrics/event_record.h"

namespace shoal {
namespace {

StepRecord step(std::int64_t n) {
  StepRecord r;
  r.step = n;
  return r;
}

std::string steps_in(const std::string& path) {
  std::istringstream in(contents(path));
  std::string out, line;
  while (std::getline(in, line)) {
    const auto object = parse_line(line);
    if (!object) return out + " broken";
    out += (*object)["kind"].get<std::string>().substr(0, 2) + (*object)["step"].dump() + ' ';
  }
  return out;
}

// Eight lines: every kind at steps 1 and 2.
void write_two_steps(const std::string& path) {
  MetricsLog log(path);
  for (std::int64_t n = 1; n <= 2; ++n) {
    log.write(step(n));
    log.write(LayerRecord{.step = n, .expert_load = {1}, .clamp = {}});
    log.write(EvalRecord{.step = n});
    log.write(EventRecord{.step = n, .event = "checkpoint"});
  }
  EXPECT_EQ(log.written(), 8);
  EXPECT_EQ(log.lost(), 0);
}

TEST(MetricsLog, ResumeDropsLaterLinesOfEveryKind) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  write_two_steps(path);
  EXPECT_EQ(steps_in(path), "st1 la1 ev1 ev1 st2 la2 ev2 ev2 ");
  MetricsLog log(path, 1);
  EXPECT_EQ(steps_in(path), "st1 la1 ev1 ev1 ");
  log.write(step(2));
  EXPECT_EQ(steps_in(path), "st1 la1 ev1 ev1 st2 ");
  log.rewind(1);
  log.write(step(2));
  EXPECT_EQ(steps_in(path), "st1 la1 ev1 ev1 st2 ");
}

TEST(MetricsLog, ResumeAtZeroStartsEmpty) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  write_two_steps(path);
  MetricsLog log(path, 0);
  EXPECT_EQ(contents(path), "");
}

TEST(MetricsLog, ATornLastLineGoesAndAWholeOneWithoutNewlineStays) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  const std::string one = line_of(json_of(step(1))), two = line_of(json_of(step(2)));
  for (std::size_t cut = 0; cut <= two.size() + 1; cut += cut + 20 < two.size() ? 17 : 1) {
    write_file(path, one + "\n" + (two + "\n").substr(0, cut));
    MetricsLog log(path, 5);
    log.write(step(3));
    const bool whole = cut >= two.size();
    ASSERT_EQ(steps_in(path), whole ? "st1 st2 st3 " : "st1 st3 ") << "cut at " << cut;
  }
}

TEST(MetricsLog, NothingToDropLeavesTheFileAlone) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  write_two_steps(path);
  struct stat before {
  }, after{};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  EXPECT_EQ(drop_lines_after(path, 2), 0);
  ASSERT_EQ(::stat(path.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(drop_lines_after(path, 1), 4);
  EXPECT_EQ(drop_lines_after(folder / "missing", 1), 0);
  // No temporary file stays behind.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(MetricsLog, AFolderThatIsNotThereIsADiskError) {
  const TemporaryFolder folder;
  try {
    MetricsLog log(folder / "none/metrics.jsonl");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kDisk);
    EXPECT_NE(std::string(error.what()).find("metrics.jsonl"), std::string::npos);
  }
}

TEST(MetricsLog, AFullDiskCostsLinesButNotTheRun) {
  const TemporaryFolder folder;
  const std::string path = folder / "metrics.jsonl";
  std::ostringstream said;
  const auto logger_before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::ostream_sink_st>(said)));

  // A limit on the file's size behaves like a disk that fills up: the last write is short.
  const std::size_t line = line_of(json_of(step(1))).size() + 1;
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit full = before;
  full.rlim_cur = line * 5 / 2;
  MetricsLog log(path);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  for (std::int64_t n = 1; n <= 5; ++n) EXPECT_EQ(log.write(step(n)), n <= 2) << n;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(log.write(step(6)));
  EXPECT_TRUE(log.sync());
  spdlog::set_default_logger(logger_before);

  EXPECT_EQ(log.written(), 3);
  EXPECT_EQ(log.lost(), 3);
  EXPECT_EQ(steps_in(path), "st1 st2 st6 ");
  const std::string text = said.str();
  EXPECT_NE(text.find("metrics.jsonl"), std::string::npos);
  EXPECT_EQ(text.find("could not be written"), text.rfind("could not be written")) << text;
}

}  // namespace
}  // namespace shoal
