#include "train/checkpoint/run_lock.h"

#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "autograd/base/check.h"
#include "autograd/base/write_file.h"

namespace shoal {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "an unknown host";
  return name.data();
}

// "pid 123 on host"; the holder may not have written it yet.
std::string holder(int fd) {
  std::array<char, 512> text{};
  const ssize_t got = ::pread(fd, text.data(), text.size() - 1, 0);
  std::string line(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  line.resize(std::min(line.size(), line.find('\n')));
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; }, '?');
  return line.empty() ? "another process" : line;
}

}  // namespace

RunLock::RunLock(const std::string& run_folder) {
  const std::string path = run_folder + "/lock";
  file_ = open_to_write(path, Write::kAppend);
  if (uninterrupted([&] { return ::flock(file_, LOCK_EX | LOCK_NB); }) != 0) {
    const int reason = errno;
    const std::string who = holder(file_);
    if (reason == EWOULDBLOCK) {
      reject(Failure::kUsage, run_folder, ": in use by ", who,
             "; wait for it, stop it, or choose another run.dir");
    }
    reject(Failure::kDisk, path, ": cannot lock: ", std::strerror(reason));
  }
  // For people only: a failure here does not weaken the lock.
  const std::string line = concat("pid ", ::getpid(), " on ", host_name(), "\n");
  if (::ftruncate(file_, 0) == 0) (void)write_all(file_, line);
}

// The file stays: deleting it could take the lock away from a process that just opened it.
RunLock::~RunLock() { (void)!::ftruncate(file_, 0); }

}  // namespace shoal
