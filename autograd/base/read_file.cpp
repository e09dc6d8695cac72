#include "autograd/base/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <ios>

namespace shoal {

OpenFile open_regular(const std::string& path, Failure why, Links links) {
  // Without O_NONBLOCK the open of a named pipe would wait for a writer.
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | (links == Links::kRefuse ? O_NOFOLLOW : 0);
  OpenFile file{Descriptor(uninterrupted([&] { return ::open(path.c_str(), flags); }))};
  struct stat status {};
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0) {
    const bool link = errno == ELOOP && links == Links::kRefuse;
    reject(why, path, ": cannot be read: ", link ? "it is a link" : std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    reject(why, path, ": is ", S_ISDIR(status.st_mode) ? "a folder" : "not a regular file");
  }
  file.bytes = static_cast<std::uint64_t>(status.st_size);
  return file;
}

std::string read_file(const std::string& path, Failure why, std::uint64_t most) {
  const OpenFile file = open_regular(path, why);
  std::string bytes(std::min(file.bytes, most), '\0');
  const std::int64_t got = read_all(file.fd, bytes.data(), bytes.size());
  if (got < 0) reject(why, path, ": cannot be read: ", std::strerror(errno));
  if (static_cast<std::size_t>(got) < bytes.size()) {
    reject(why, path, ": became shorter while it was read");
  }
  return bytes;
}

InputFile::InputFile(const std::string& path, Failure why)
    : std::istream(nullptr), file_(open_regular(path, why)) {
  std::istream::rdbuf(this);
}

void InputFile::rewind() {
  clear();
  at_ = 0;
  setg(nullptr, nullptr, nullptr);
}

// A stream turns an exception of its buffer into bad().
int InputFile::underflow() {
  const std::int64_t got = read_all(file_.fd, buffer_.data(), buffer_.size(), at_);
  if (got < 0) throw std::ios_base::failure("read");
  if (got == 0) return std::char_traits<char>::eof();
  at_ += static_cast<std::uint64_t>(got);
  setg(buffer_.data(), buffer_.data(), buffer_.data() + got);
  return std::char_traits<char>::to_int_type(buffer_[0]);
}

}  // namespace shoal
