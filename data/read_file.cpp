#include "data/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

#include "autograd/base/check.h"
#include "autograd/base/descriptor.h"

namespace shoal {

std::string read_file(const std::string& path) {
  // Without O_NONBLOCK the open of a named pipe would wait for a writer.
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    reject(Failure::kData, path, ": cannot be read: ", std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) reject(Failure::kData, path, ": is not a regular file");
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  const std::int64_t got = read_all(fd, bytes.data(), bytes.size());
  if (got < 0) reject(Failure::kData, path, ": cannot be read: ", std::strerror(errno));
  if (got < status.st_size) reject(Failure::kData, path, ": became shorter while it was read");
  return bytes;
}

}  // namespace shoal
