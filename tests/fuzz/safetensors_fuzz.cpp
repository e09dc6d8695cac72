#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "autograd/base/check.h"
#include "train/interop/safetensors.h"

// Any bytes either open as a safetensors file, and then every tensor reads, or are refused with one
// Error(kData). The file lives in memory, so a run costs no disk.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int fd = ::memfd_create("safetensors", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, data, size, 0) != static_cast<ssize_t>(size)) {
    std::abort();
  }
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  try {
    const shoal::SafetensorsFile file = shoal::SafetensorsFile::open(path);
    std::uint64_t bytes = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      bytes += file.read_bytes(name).size();
      const std::string& dtype = tensor.dtype;
      if (dtype == "F32" || dtype == "F16" || dtype == "BF16") {
        if (static_cast<std::int64_t>(file.read_f32(name).size()) != tensor.numel()) std::abort();
      } else if (dtype == "I64" || dtype == "I32") {
        if (static_cast<std::int64_t>(file.read_i64(name).size()) != tensor.numel()) std::abort();
      }
    }
    if (bytes > size) std::abort();  // tensors that overlap
    shoal::verify_safetensors(path);
  } catch (const shoal::Error& error) {
    if (error.why() != shoal::Failure::kData) std::abort();
  }
  return 0;
}
