#include "data/text_source.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/read_file.h"
#include "data/file_kind.h"
#include "data/folder_files.h"
#include "data/lines.h"
#include "data/token_file.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

void require_text(std::string_view bytes, const std::string& name) {
  const std::string why = why_not_text(bytes, name);
  if (!why.empty()) reject(Failure::kData, name, why);
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

// What was noticed in several files: said once, with their number and the first of them.
class Notes {
 public:
  void add(std::string what, const std::string& file) {
    for (Note& note : notes_) {
      if (note.what != what) continue;
      ++note.count;
      return;
    }
    notes_.push_back({std::move(what), file, 1});
  }
  void report(std::vector<std::string>& out) const {
    for (const Note& note : notes_) {
      out.push_back(concat(note.first,
                           note.count > 1 ? concat(" and ", note.count - 1, " more") : "", ": ",
                           note.what));
    }
  }

 private:
  struct Note {
    std::string what, first;
    std::int64_t count;
  };
  std::vector<Note> notes_;
};

// One path of data.train, data.validation or `prepare`.
class Reader {
 public:
  Reader(const Tokenizer& tokenizer, Documents& out) : tokenizer_(tokenizer), out_(out) {}

  void folder(const fs::path& path) {
    FolderFiles found = files_below(path);
    for (std::string& sentence : found.left_out) out_.warnings.push_back(std::move(sentence));
    std::string tokens, text;  // the first of each
    for (const fs::path& file : found.files) {
      const std::string name = file.string();
      const std::string bytes = read_file(name);
      const FileKind kind = is_tokens(name, bytes) ? FileKind::kTokens : kind_of(name);
      if (kind != FileKind::kTokens) {
        const std::string why = why_not_text(bytes, name);
        if (!why.empty() && claims_text(name)) reject(Failure::kData, name, why);
        if (!why.empty()) {
          notes_.add("left out: not text", name);
          continue;
        }
        if (kind == FileKind::kJson && !looks_like_jsonl(bytes)) {
          notes_.add("left out: JSON, but no lines such as {\"text\": \"...\"}", name);
          continue;
        }
      }
      std::string& first = kind == FileKind::kTokens ? tokens : text;
      if (first.empty()) first = name;
      if (!tokens.empty() && !text.empty()) {
        reject(Failure::kData, path.string(), ": holds token files (", tokens, ") and texts (",
               text, "), which may be the same; name the files that are meant");
      }
      add_file(name, bytes, kind, true);
    }
    report(path.string());
  }

  void file(const std::string& name) {
    const std::string bytes = read_file(name);
    add_file(name, bytes, is_tokens(name, bytes) ? FileKind::kTokens : kind_of(name), false);
    report(name);
  }

 private:
  static bool is_tokens(const std::string& name, std::string_view bytes) {
    return kind_of(name) == FileKind::kTokens || bytes.starts_with(kTokenFileMagic);
  }

  void add_file(const std::string& name, std::string_view bytes, FileKind kind, bool as_one) {
    remember(name);
    if (kind == FileKind::kTokens) return parse_token_file(bytes, name, tokenizer_, out_);
    const TakeDocument take = [this](std::string_view text) { add(text); };
    if (kind == FileKind::kText) {
      if (looks_like_jsonl(bytes)) {
        notes_.add(
            "read as plain text, but looks like JSON lines; if each line is a document, name "
            "it .jsonl",
            name);
      }
      count_line_ends(bytes);
      return as_one ? add(trimmed(without_byte_order_mark(bytes))) : split_text(bytes, name, take);
    }
    require_text(bytes, name);
    if (kind == FileKind::kJson && !looks_like_jsonl(bytes)) {
      reject(
          Failure::kData, name,
          ": is JSON, but not of lines such as {\"text\": \"...\"}, one a document; of a list of "
          "such objects they are made by: jq -c '.[]' ",
          name, " > ", fs::path(name).replace_extension(".jsonl").string());
    }
    split_jsonl(bytes, name, take);
  }

  void remember(const std::string& name) {
    struct stat status {};
    if (::stat(name.c_str(), &status) != 0) return;  // it was read: somebody removed it just now
    out_.files.push_back({name, status.st_dev, status.st_ino});
  }

  void count_line_ends(std::string_view text) {
    for (std::size_t at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1)) {
      ++(at > 0 && text[at - 1] == '\r' ? crlf_ : lf_);
    }
  }

  void add(std::string_view text) {
    if (text.find_first_not_of(" \t\r\n\f\v") == text.npos) {
      ++empty_;
    } else {
      out_.add(text, tokenizer_);
    }
  }

  void report(const std::string& name) {
    notes_.report(out_.warnings);
    if (empty_ > 0) {
      out_.warnings.push_back(concat(name, ": ", empty_, " empty document(s) left out"));
    }
    if (crlf_ > 0 && lf_ > 0) {
      out_.warnings.push_back(concat(name, ": ", crlf_, " line(s) end with CRLF and ", lf_,
                                     " with LF; both are learned as they are (sed 's/\\r$//' makes "
                                     "them alike)"));
    }
  }

  const Tokenizer& tokenizer_;
  Documents& out_;
  Notes notes_;
  std::int64_t empty_ = 0, crlf_ = 0, lf_ = 0;
};

}  // namespace

void split_text(std::string_view text, const std::string& name, const TakeDocument& take) {
  text = without_byte_order_mark(text);
  require_text(text, name);
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
  const auto warnings = static_cast<std::ptrdiff_t>(out.warnings.size());
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) reject(Failure::kData, path, ": there is no such file or folder");
  Reader reader(tokenizer, out);
  if (fs::is_directory(status)) {
    reader.folder(path);
  } else {
    reader.file(path);
  }
  if (out.count() > before) return;
  // What was left out may be the reason.
  std::string left_out;
  std::for_each(out.warnings.begin() + warnings, out.warnings.end(),
                [&](const std::string& warning) { left_out += " (" + warning + ")"; });
  reject(Failure::kData, path, ": holds no text to learn from", left_out);
}

}  // namespace shoal
