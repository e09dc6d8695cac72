#include "train/run/machine.h"

#include <cstdlib>
#include <sstream>

#include "autograd/base/read_file.h"

namespace shoal {
namespace {

std::string text_of(const char* path) {  // "" where the system has no such file
  try {
    InputFile in(path);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  } catch (const Error&) {
    return "";
  }
}

std::string trimmed(const std::string& text) {
  constexpr const char* kBlank = " \t";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

}  // namespace

std::string value_of(const std::string& text, const std::string& name) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == name) {
      return trimmed(line.substr(colon + 1));
    }
  }
  return "";
}

std::string cpu_model() {
  const std::string cpus = text_of("/proc/cpuinfo");
  // Of Arm the kernel gives numbers: who made it and which part it is.
  for (const char* name : {"model name", "Model"}) {
    if (const std::string model = value_of(cpus, name); !model.empty()) return model;
  }
  const std::string maker = value_of(cpus, "CPU implementer"), part = value_of(cpus, "CPU part");
  return part.empty() ? "unknown" : "implementer " + maker + " part " + part;
}

// Not getrusage: its maximum begins with that of the process which started this one.
std::int64_t peak_resident_bytes() {
  const std::string peak = value_of(text_of("/proc/self/status"), "VmHWM");  // "123456 kB"
  return std::strtoll(peak.c_str(), nullptr, 10) * 1024;
}

}  // namespace shoal
