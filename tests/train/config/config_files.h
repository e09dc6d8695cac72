#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "autograd/base/check.h"

namespace shoal {

// A folder of a test's own, which is also the working directory while it lives: error messages
// then begin with plain file names.
class ConfigFiles {
 public:
  ConfigFiles() : before_(std::filesystem::current_path()) {
    std::string pattern = (std::filesystem::temp_directory_path() / "shoal-config-XXXXXX").string();
    CHECK(mkdtemp(pattern.data()) != nullptr);
    folder_ = std::filesystem::canonical(pattern);
    std::filesystem::current_path(folder_);
  }
  ~ConfigFiles() {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(folder_);
  }
  ConfigFiles(const ConfigFiles&) = delete;
  ConfigFiles& operator=(const ConfigFiles&) = delete;

  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

 private:
  std::filesystem::path before_, folder_;
};

// What the Error says; "" where there was none. Any other way to fail is a failure of the test.
inline std::string error_of(const std::function<void()>& action, Failure why = Failure::kUsage) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), why) << error.what();
    return error.what();
  }
  return "";
}

}  // namespace shoal
