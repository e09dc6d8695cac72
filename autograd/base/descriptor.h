#pragma once
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace shoal {

// An open file, closed at the end of the scope; negative where none is.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { (void)close(); }
  operator int() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  bool close();  // false: errno says what was lost

 private:
  int fd_;
};

enum class Links { kFollow, kRefuse };  // where the last name of a path is one

// Repeats a system call that a signal interrupted.
template <class Call>
auto uninterrupted(const Call& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// All of the bytes, through interruptions and short writes. false: errno says why.
bool write_all(int fd, std::string_view bytes);
// Bytes from `offset` on, as many as the file has: how many these were, or -1 with errno.
std::int64_t read_all(int fd, void* out, std::size_t bytes, std::uint64_t offset = 0);
// A renamed file is found under its new name after a power cut. false: errno says why.
bool sync_folder(const std::string& path);
// May this process make something at `path`: in the nearest folder above it that is there? "": it
// may; else what stands in the way, by its path. A folder that is there itself is asked, too.
std::string obstacle_to_writing(const std::string& path);

}  // namespace shoal
