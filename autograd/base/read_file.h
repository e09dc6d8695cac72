#pragma once
#include <array>
#include <cstdint>
#include <istream>
#include <limits>
#include <streambuf>
#include <string>

#include "autograd/base/check.h"
#include "autograd/base/descriptor.h"

namespace shoal {

// Every file is opened for reading here. It has to be a regular one: a pipe would wait for a writer
// for ever, a device has no end. Errors are Error(why) and name the file and the reason.
struct OpenFile {
  Descriptor fd;
  std::uint64_t bytes = 0;
};
OpenFile open_regular(const std::string& path, Failure why = Failure::kData,
                      Links links = Links::kFollow);

// All of it; no more than `most` bytes, however long the file is.
std::string read_file(const std::string& path, Failure why = Failure::kData,
                      std::uint64_t most = std::numeric_limits<std::uint64_t>::max());

// A file as a stream, for reading line by line. The state is bad() where the disk failed.
class InputFile : private std::streambuf, public std::istream {
 public:
  explicit InputFile(const std::string& path, Failure why = Failure::kData);
  void rewind();

 private:
  int underflow() override;

  OpenFile file_;
  std::uint64_t at_ = 0;  // of the byte behind the buffer
  std::array<char, std::size_t{1} << 16> buffer_;
};

}  // namespace shoal
