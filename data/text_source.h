#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "data/documents.h"

namespace shoal {

// Where documents come from, by the path, its extension in letters of any case:
//   X.tokens            a token file (data/token_file.h) of the same tokenizer
//   X.jsonl, X.ndjson   each line is an object whose "text" is a document
//   X.json              the same, where it holds such lines; else refused
//   any other file      text: blank lines separate documents
//   a folder            its files in order of their paths, subfolders included. JSON lines as
//   above,
//                       any other text file is one document. Left out: what data/folder_files.h
//                       says; and, with a warning, what is no text, unless its name claims that it
//                       is. Token files only where there is no text beside them: they may be of it.
// Blank lines and the line end around a document are not part of it, nor is a byte order mark;
// empty documents are left out. Appends to `out`; throws Error(kData) that names file and line when
// something is wrong or no text is found.
void read_documents(const std::string& path, const Tokenizer& tokenizer, Documents& out);

// The parsers: `name` is the file's, for errors; `take` gets each document, also an empty one.
using TakeDocument = std::function<void(std::string_view)>;
void split_text(std::string_view text, const std::string& name, const TakeDocument& take);
void split_jsonl(std::string_view lines, const std::string& name, const TakeDocument& take);
// Is the first line that is not blank an object with a string "text"?
bool looks_like_jsonl(std::string_view text);

}  // namespace shoal
