#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "data/documents.h"

namespace shoal {

// Where documents come from, by the path:
//   X.tokens        a token file (data/token_file.h) of the same tokenizer
//   X.jsonl         each line is an object whose "text" is a document
//   a folder        its files in order of their names, subfolders included: .tokens and .jsonl as
//                   above, any other file is one document. Hidden files are left out, and so is,
//                   with a warning, what is no UTF-8 text and does not claim to be (.txt).
//   any other file  text: blank lines separate documents
// Blank lines and the line end around a document are not part of it, nor is a byte order mark;
// empty documents are left out. Appends to `out`; throws Error(kData) that names file and line when
// something is wrong or no text is found.
void read_documents(const std::string& path, const Tokenizer& tokenizer, Documents& out);

// The parsers: `name` is the file's, for errors; `take` gets each document, also an empty one.
using TakeDocument = std::function<void(std::string_view)>;
void split_text(std::string_view text, const std::string& name, const TakeDocument& take);
void split_jsonl(std::string_view lines, const std::string& name, const TakeDocument& take);

}  // namespace shoal
