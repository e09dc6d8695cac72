#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "autograd/base/check.h"
#include "train/interop/safetensors.h"

namespace shoal {
namespace {

// A file that appears under its name only when all of it is on the disk.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path) : path_(std::move(path)) {
    const std::size_t slash = path_.rfind('/');
    folder_ = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const std::string name = slash == std::string::npos ? path_ : path_.substr(slash + 1);
    // Created exclusively, so that nobody's file or link is followed; a left-over of a process that
    // had our number makes us take the next name.
    for (int attempt = 0; fd_ < 0; ++attempt) {
      temporary_ = concat(folder_, "/.tmp-", name, "-", ::getpid(), "-", attempt);
      fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd_ < 0 && (errno != EEXIST || attempt == 100)) fail("cannot be created");
    }
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!renamed_) ::unlink(temporary_.c_str());
  }

  void write(const void* data, std::uint64_t bytes) {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t done = ::write(fd_, at, bytes);
      if (done < 0 && errno == EINTR) continue;
      if (done < 0) fail("cannot be written");
      at += done;
      bytes -= static_cast<std::uint64_t>(done);
    }
  }

  void commit() {
    if (::fsync(fd_) != 0) fail("cannot be synced");
    if (::close(std::exchange(fd_, -1)) != 0) fail("cannot be closed");
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be renamed into place");
    renamed_ = true;
    const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = folder >= 0 && ::fsync(folder) == 0;
    const int why = errno;
    if (folder >= 0) ::close(folder);
    errno = why;
    if (!synced) fail("its folder cannot be synced");
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    const int why = errno;
    reject(Failure::kDisk, path_, ": ", what, ": ", std::strerror(why));
  }

  std::string path_, folder_, temporary_;
  int fd_ = -1;
  bool renamed_ = false;
};

std::uint64_t bytes_of(const TensorToWrite& tensor) {
  std::uint64_t bits = static_cast<std::uint64_t>(safetensors_dtype_bits(tensor.dtype));
  CHECK(bits > 0, "write_safetensors: ", tensor.name, " has unknown dtype ", tensor.dtype);
  for (const std::int64_t d : tensor.shape) {
    CHECK(d >= 0 && !__builtin_mul_overflow(bits, static_cast<std::uint64_t>(d), &bits),
          "write_safetensors: bad shape of ", tensor.name);
  }
  CHECK(bits % 8 == 0, "write_safetensors: ", tensor.name, " does not fill whole bytes");
  return bits / 8;
}

std::string header_json(const std::vector<const TensorToWrite*>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::string json = "{\"__metadata__\":" + nlohmann::json(metadata).dump();
  std::uint64_t begin = 0;
  for (const TensorToWrite* tensor : tensors) {
    const std::uint64_t end = begin + bytes_of(*tensor);
    // The library sorts keys, other writers put them in this order: so by hand.
    json += concat(",", nlohmann::json(tensor->name).dump(), ":{\"dtype\":\"", tensor->dtype,
                   "\",\"shape\":", nlohmann::json(tensor->shape).dump(), ",\"data_offsets\":[",
                   begin, ",", end, "]}");
    begin = end;
  }
  json += '}';
  while (json.size() % 8 != 0) json += ' ';
  return json;
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<TensorToWrite>& tensors,
                       std::map<std::string, std::string> metadata) {
  metadata.try_emplace("format", "pt");
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    const int bits_a = safetensors_dtype_bits(a->dtype), bits_b = safetensors_dtype_bits(b->dtype);
    return bits_a != bits_b ? bits_a > bits_b : a->name < b->name;
  });
  std::map<std::string, int> count;
  for (const TensorToWrite* tensor : order) {
    CHECK(++count[tensor->name] == 1, "write_safetensors: ", tensor->name, " twice");
    CHECK(tensor->name != "__metadata__", "write_safetensors: __metadata__ is no tensor's name");
    CHECK(tensor->data != nullptr || bytes_of(*tensor) == 0, "write_safetensors: no data for ",
          tensor->name);
  }
  const std::string header = header_json(order, metadata);
  CHECK(header.size() <= kMaxSafetensorsHeader, "write_safetensors: too many tensors");
  const std::uint64_t length = header.size();

  AtomicFile file(path);
  file.write(&length, sizeof(length));
  file.write(header.data(), header.size());
  for (const TensorToWrite* tensor : order) file.write(tensor->data, bytes_of(*tensor));
  file.commit();
}

}  // namespace shoal
