#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/sanitizers.h"
#include "train/metrics/records.h"

namespace shoal {

// How a process of the built program ended.
struct Ended {
  int code = -1;   // its exit code, or -1 if a signal ended it
  int signal = 0;  // that one
  std::string out, err;

  std::string last_line() const;  // of stderr: it has to say why
};

// Where stdout or stderr of the process goes.
enum class Stream {
  kCaptured,
  kClosed,      // no such file descriptor at all
  kBrokenPipe,  // a pipe that nobody reads
  kFull,        // a disk without space
};

struct ProgramOptions {
  int threads = 1;               // OMP_NUM_THREADS
  std::int64_t file_bytes = -1;  // no file may grow beyond it (RLIMIT_FSIZE); -1: no limit
  Stream out = Stream::kCaptured, err = Stream::kCaptured;
  std::string in = "/dev/null";           // the file that is its stdin
  std::vector<std::string> through = {};  // a program that starts it, with its arguments
};

// Skips a test that sets file_bytes: ThreadSanitizer writes half a MiB before main, or dies.
#ifdef SHOAL_TSAN
#define SKIP_WITHOUT_FILE_LIMIT() GTEST_SKIP() << "ThreadSanitizer writes files of its own"
#else
#define SKIP_WITHOUT_FILE_LIMIT() static_cast<void>(0)
#endif

// The built program `shoal` in a process of its own. Its signals have their default actions, its
// waiting threads sleep, because test programs share the cores.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments, const ProgramOptions& options = {});
  ~Program();  // kills it
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  void signal(int number) const;
  Ended wait();  // for two minutes at most; then it is killed and the test fails

 private:
  void reap(bool block);

  pid_t pid_ = -1;
  bool ended_ = false;
  int status_ = 0, out_ = -1, err_ = -1;
};

Ended run_program(const std::vector<std::string>& arguments, const ProgramOptions& options = {});
Ended run_well(const std::vector<std::string>& arguments);  // expects exit code 0
// The one JSON object (or list) that a command prints.
Json json_of_command(const std::vector<std::string>& arguments, int code = 0,
                     const ProgramOptions& options = {});

void sleep_briefly();  // less than a step takes

// Asks again and again until the condition holds or the program has ended.
template <class Condition>
bool wait_until(Program& program, const Condition& holds) {
  while (!holds()) {
    if (!program.running()) return holds();
    sleep_briefly();
  }
  return true;
}

}  // namespace shoal
