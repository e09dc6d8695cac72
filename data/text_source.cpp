#include "data/text_source.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/read_file.h"
#include "autograd/base/utf8.h"
#include "data/lines.h"
#include "data/token_file.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

void require_utf8(std::string_view text, const std::string& name) {
  const std::size_t at = find_invalid_utf8(text);
  if (at == kValidUtf8) return;
  const auto line =
      1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  const bool utf16 = text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF");
  reject(Failure::kData, name, ':', line, ": not UTF-8 text (byte ", at,
         " of the file); convert it: iconv -f ", utf16 ? "UTF-16" : "LATIN1", " -t UTF-8 ", name);
}

// The whole text as one document: blank lines inside stay, those around it go.
std::string_view trimmed(std::string_view text) {
  while (!text.empty()) {
    std::string_view rest = text;
    if (!is_blank(next_line(rest))) break;
    text = rest;
  }
  const std::size_t last = text.find_last_not_of("\n \t\r\f\v");
  if (last == std::string_view::npos) return {};
  // Blanks at the end of the last line with text belong to it, its line end does not.
  std::string_view tail = text.substr(last + 1);
  std::string_view end = next_line(tail);
  if (end.ends_with('\r')) end.remove_suffix(1);
  return text.substr(0, last + 1 + end.size());
}

std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    const bool hidden = entry->path().filename().string().starts_with('.');
    std::error_code ignored;
    if (entry->is_directory(ignored)) {
      if (hidden) entry.disable_recursion_pending();
    } else if (!hidden && entry->is_regular_file(ignored)) {
      files.push_back(entry->path());
    }
  }
  if (error) reject(Failure::kData, folder.string(), ": cannot be read: ", error.message());
  // Bytes of the path, not the locale: the same order everywhere.
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return a.generic_string() < b.generic_string();
  });
  return files;
}

class Reader {
 public:
  Reader(const Tokenizer& tokenizer, Documents& out) : tokenizer_(tokenizer), out_(out) {}

  void folder(const fs::path& path) {
    std::vector<std::string> skipped;
    for (const fs::path& file : files_below(path)) {
      const std::string name = file.string();
      if (container(file)) continue;
      const std::string bytes = read_file(name);
      const std::string_view text = without_byte_order_mark(bytes);
      if (file.extension() == ".txt") require_utf8(text, name);
      if (find_invalid_utf8(text) != kValidUtf8) {
        skipped.push_back(name);
      } else {
        add(trimmed(text));
      }
    }
    if (!skipped.empty()) {
      out_.warnings.push_back(concat(path.string(), ": ", skipped.size(),
                                     " file(s) left out that are not UTF-8 text, such as ",
                                     skipped.front()));
    }
    report_empty(path.string());
  }

  void file(const fs::path& path) {
    const std::string name = path.string();
    if (!container(path)) {
      split_text(read_file(name), name, [this](std::string_view text) { add(text); });
    }
    report_empty(name);
  }

 private:
  // Reads a file that says by its extension how it holds documents.
  bool container(const fs::path& path) {
    const std::string name = path.string();
    if (path.extension() == ".tokens") {
      read_token_file(name, tokenizer_, out_);
      return true;
    }
    if (path.extension() != ".jsonl") return false;
    split_jsonl(read_file(name), name, [this](std::string_view text) { add(text); });
    return true;
  }

  void add(std::string_view text) {
    if (text.empty()) {
      ++empty_;
    } else {
      out_.add(text, tokenizer_);
    }
  }

  void report_empty(const std::string& name) {
    if (empty_ > 0)
      out_.warnings.push_back(concat(name, ": ", empty_, " empty document(s) left out"));
  }

  const Tokenizer& tokenizer_;
  Documents& out_;
  std::int64_t empty_ = 0;
};

}  // namespace

void split_text(std::string_view text, const std::string& name, const TakeDocument& take) {
  text = without_byte_order_mark(text);
  require_utf8(text, name);
  std::string_view rest = text;
  const char* begin = nullptr;  // of the open document
  const char* end = nullptr;    // of its last line
  while (!rest.empty()) {
    std::string_view line = next_line(rest);
    if (is_blank(line)) {
      if (begin != nullptr) take({begin, static_cast<std::size_t>(end - begin)});
      begin = nullptr;
      continue;
    }
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (begin == nullptr) begin = line.data();
    end = line.data() + line.size();
  }
  if (begin != nullptr) take({begin, static_cast<std::size_t>(end - begin)});
}

void read_documents(const std::string& path, const Tokenizer& tokenizer, Documents& out) {
  const std::int64_t before = out.count();
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) reject(Failure::kData, path, ": there is no such file or folder");
  Reader reader(tokenizer, out);
  if (fs::is_directory(status)) {
    reader.folder(path);
  } else {
    reader.file(path);
  }
  if (out.count() == before) reject(Failure::kData, path, ": holds no text to learn from");
}

}  // namespace shoal
