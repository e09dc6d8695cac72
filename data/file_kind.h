#pragma once
#include <string>
#include <string_view>

namespace shoal {

// How a file holds documents: by its name, in letters of any case, whatever its folder.
enum class FileKind {
  kText,       // .txt, and any name that says nothing else
  kJsonLines,  // .jsonl, .ndjson
  kJson,    // .json: JSON lines too, as many data sets are; else nothing that can be learned from
  kTokens,  // .tokens
};
FileKind kind_of(const std::string& name);

// Does the name promise text (.txt, JSON lines, also under .gz and the like)? What breaks such a
// promise is an error in a folder too, where other files that are no text are left out.
bool claims_text(const std::string& name);

// Why the bytes of a file cannot be text, and what to do: compressed, of a known kind that is no
// text, UTF-16, zero bytes, not UTF-8, CR alone as line ends; to be put behind the file's name,
// since it begins with ": " or ":LINE: ". "": they are text. `name` is used in commands that mend
// it.
std::string why_not_text(std::string_view bytes, const std::string& name);

}  // namespace shoal
