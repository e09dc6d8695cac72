#include "tests/support/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>

#include "autograd/base/check.h"
#include "tests/support/paths.h"

namespace shoal {
namespace {

constexpr auto kPatience = std::chrono::seconds(120);

// A file without a name: nothing of it stays behind.
int anonymous_file() {
  std::string name = testing::TempDir() + "shoal-output-XXXXXX";
  const int fd = ::mkstemp(name.data());
  CHECK(fd >= 0, "mkstemp ", name, ": ", std::strerror(errno));
  ::unlink(name.c_str());
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

int broken_pipe() {
  int ends[2] = {};
  CHECK(::pipe2(ends, O_CLOEXEC) == 0, "pipe: ", std::strerror(errno));
  ::close(ends[0]);
  return ends[1];
}

int open_stream(Stream stream) {
  switch (stream) {
    case Stream::kCaptured:
      return anonymous_file();
    case Stream::kBrokenPipe:
      return broken_pipe();
    case Stream::kFull:
      return ::open("/dev/full", O_WRONLY | O_CLOEXEC);
    case Stream::kClosed:
      break;
  }
  return -1;
}

std::string content(int fd) {
  std::string text;
  if (fd < 0) return text;
  std::array<char, 4096> part;
  for (off_t at = 0;;) {
    const ssize_t got = ::pread(fd, part.data(), part.size(), at);
    if (got <= 0) return text;
    text.append(part.data(), static_cast<std::size_t>(got));
    at += got;
  }
}

bool sets(std::string_view entry, std::string_view name) {
  return entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=';
}

std::vector<std::string> environment_of(const ProgramOptions& options) {
  std::vector<std::string> all = {concat("OMP_NUM_THREADS=", options.threads),
                                  "OMP_WAIT_POLICY=passive"};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!sets(*entry, "OMP_NUM_THREADS") && !sets(*entry, "OMP_WAIT_POLICY")) {
      all.emplace_back(*entry);
    }
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

std::string Ended::last_line() const {
  const std::size_t end = err.find_last_not_of('\n');
  if (end == std::string::npos) return "";
  const std::size_t before = err.find_last_of('\n', end);
  return err.substr(before + 1, end - before);  // npos + 1 is 0
}

Program::Program(const std::vector<std::string>& arguments, const ProgramOptions& options)
    : out_(open_stream(options.out)), err_(open_stream(options.err)) {
  std::vector<std::string> words = options.through;
  if (options.file_bytes >= 0) {
    words.insert(words.end(), {"prlimit", concat("--fsize=", options.file_bytes), "--"});
  }
  words.push_back(program_file());
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> environment = environment_of(options);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, options.in.c_str(), O_RDONLY, 0);
  for (const auto& [fd, number] : {std::pair(out_, 1), std::pair(err_, 2)}) {
    if (fd >= 0) {
      posix_spawn_file_actions_adddup2(&files, fd, number);
    } else {
      posix_spawn_file_actions_addclose(&files, number);
    }
  }
  // What the test's own parent ignores must not be ignored here.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t every, none;
  sigfillset(&every);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes, &every);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  const int error = ::posix_spawnp(&pid_, words[0].c_str(), &files, &attributes,
                                   pointers(words).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  CHECK(error == 0, words[0], ": ", std::strerror(error));
}

Program::~Program() {
  if (!ended_) {
    ::kill(pid_, SIGKILL);
    reap(true);
  }
  if (out_ >= 0) ::close(out_);
  if (err_ >= 0) ::close(err_);
}

void Program::reap(bool block) {
  if (!ended_) ended_ = ::waitpid(pid_, &status_, block ? 0 : WNOHANG) == pid_;
}

bool Program::running() {
  reap(false);
  return !ended_;
}

void Program::signal(int number) const {
  if (!ended_) ::kill(pid_, number);
}

Ended Program::wait() {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (running()) {
    if (std::chrono::steady_clock::now() > give_up) {
      ADD_FAILURE() << "the program does not end:\n" << content(err_);
      ::kill(pid_, SIGKILL);
      reap(true);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  Ended ended;
  if (WIFEXITED(status_)) ended.code = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) ended.signal = WTERMSIG(status_);
  ended.out = content(out_);
  ended.err = content(err_);
  return ended;
}

Ended run_program(const std::vector<std::string>& arguments, const ProgramOptions& options) {
  return Program(arguments, options).wait();
}

Ended run_well(const std::vector<std::string>& arguments) {
  Ended ended = run_program(arguments);
  EXPECT_EQ(ended.code, 0) << arguments[0] << ": " << ended.err;
  return ended;
}

Json json_of_command(const std::vector<std::string>& arguments, int code,
                     const ProgramOptions& options) {
  const Ended ended = run_program(arguments, options);
  EXPECT_EQ(ended.code, code) << ended.err;
  Json json = Json::parse(ended.out, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << ended.out;
  return json;
}

void sleep_briefly() { std::this_thread::sleep_for(std::chrono::microseconds(300)); }

}  // namespace shoal
