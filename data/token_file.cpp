#include "data/token_file.h"

#include <bit>
#include <cstring>

#include "autograd/base/atomic_file.h"
#include "autograd/base/check.h"
#include "autograd/base/read_file.h"
#include "autograd/base/sha256.h"

namespace shoal {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are read as they lie");

constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kFingerprintBytes = 64, kDigestBytes = 32;
// Below this no sum of offsets and sizes can overflow, and ids fit std::int32_t.
constexpr std::uint64_t kMaxVocabulary = 1U << 30;

struct Header {
  char magic[8];
  std::uint32_t version, token_bytes;
  std::uint64_t vocab_size;
  std::uint32_t bos, eos;
  std::uint64_t documents, tokens;
  char tokenizer[kFingerprintBytes];
  char digest[kDigestBytes];
};
static_assert(sizeof(Header) == kTokenFileHeader);
static_assert(offsetof(Header, digest) == kTokenFileDigest);

template <class T>
T load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(digit(hex[i]) * 16 + digit(hex[i + 1]));
  }
  return bytes;
}

std::string to_hex(std::string_view bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

// A view of a file whose header and length were believed; see header_problem().
struct Parts {
  Header header;
  const char* offsets;
  const char* tokens;
  std::uint64_t offset(std::uint64_t d) const { return load<std::uint64_t>(offsets + 8 * d); }
  std::uint32_t token(std::uint64_t i) const {
    return header.token_bytes == 2 ? load<std::uint16_t>(tokens + 2 * i)
                                   : load<std::uint32_t>(tokens + 4 * i);
  }
};

// "" where the header makes sense and the file has the length that it promises.
std::string header_problem(std::string_view bytes, Parts& parts) {
  if (bytes.size() < sizeof(Header)) {
    return concat("is cut off: ", bytes.size(), " bytes, the header alone has ", sizeof(Header));
  }
  std::memcpy(&parts.header, bytes.data(), sizeof(Header));
  const Header& h = parts.header;
  if (h.version != kVersion) {
    return concat("has version ", h.version, ", this program reads version ", kVersion);
  }
  if (h.token_bytes != 2 && h.token_bytes != 4) {
    return concat("has tokens of ", h.token_bytes, " bytes; 2 or 4 are possible");
  }
  if (h.vocab_size < 3 || h.vocab_size > kMaxVocabulary || h.bos >= h.vocab_size ||
      h.eos >= h.vocab_size || h.bos == h.eos) {
    return concat("has a vocabulary of ", h.vocab_size, " with bos ", h.bos, " and eos ", h.eos);
  }
  // Divisions, so that no product of the file's own numbers can overflow.
  const std::uint64_t room = bytes.size() - sizeof(Header);
  if (h.documents >= room / 8 || h.tokens > room / h.token_bytes ||
      (h.documents + 1) * 8 + h.tokens * h.token_bytes != room) {
    return concat("has ", bytes.size(), " bytes, which does not agree with its ", h.documents,
                  " documents and ", h.tokens, " tokens; it is cut off or damaged");
  }
  parts.offsets = bytes.data() + sizeof(Header);
  parts.tokens = parts.offsets + (h.documents + 1) * 8;
  return "";
}

std::string offsets_problem(const Parts& parts) {
  const Header& h = parts.header;
  if (parts.offset(0) != 0 || parts.offset(h.documents) != h.tokens) {
    return "has document offsets that do not cover its tokens";
  }
  for (std::uint64_t d = 0; d < h.documents; ++d) {
    // In this order, so that a huge offset is refused before it is used.
    if (parts.offset(d + 1) > h.tokens || parts.offset(d + 1) < parts.offset(d) + 2) {
      return concat("has a document ", d, " that begins at token ", parts.offset(d),
                    " and ends at ", parts.offset(d + 1), " of ", h.tokens);
    }
  }
  return "";
}

std::string tokens_problem(const Parts& parts) {
  const Header& h = parts.header;
  for (std::uint64_t d = 0; d < h.documents; ++d) {
    const std::uint64_t begin = parts.offset(d), last = parts.offset(d + 1) - 1;
    for (std::uint64_t i = begin; i <= last; ++i) {
      const std::uint32_t id = parts.token(i);
      if (id >= h.vocab_size) {
        return concat("has id ", id, " at token ", i, ", above its vocabulary of ", h.vocab_size);
      }
      if ((id == h.bos) != (i == begin) || (id == h.eos) != (i == last)) {
        return concat("has a document ", d, " that is not bos, text, eos (token ", i, ")");
      }
    }
  }
  return "";
}

void require_magic(std::string_view bytes, const std::string& name) {
  if (!bytes.starts_with(kTokenFileMagic)) {
    reject(Failure::kData, name, ": is not a token file (it does not begin with ", kTokenFileMagic,
           "); `shoal prepare` makes them from text");
  }
}

// parts is filled where no problem is found.
std::vector<std::string> problems_of(std::string_view bytes, Parts& parts, TokenFileInfo& info) {
  std::vector<std::string> problems;
  const auto add = [&](std::string problem) {
    if (!problem.empty()) problems.push_back(std::move(problem));
    return problems.empty();
  };
  if (!add(header_problem(bytes, parts))) return problems;
  const Header& h = parts.header;
  info.token_bytes = h.token_bytes;
  info.vocab_size = static_cast<std::int64_t>(h.vocab_size);
  info.documents = static_cast<std::int64_t>(h.documents);
  info.tokens = static_cast<std::int64_t>(h.tokens);
  info.file_bytes = static_cast<std::int64_t>(bytes.size());
  info.bos = static_cast<std::int32_t>(h.bos);
  info.eos = static_cast<std::int32_t>(h.eos);
  info.tokenizer.assign(h.tokenizer, ::strnlen(h.tokenizer, kFingerprintBytes));
  info.sha256 = to_hex({h.digest, kDigestBytes});
  if (add(offsets_problem(parts))) add(tokens_problem(parts));
  if (token_file_digest(bytes) != std::string_view(h.digest, kDigestBytes)) {
    add("does not have the SHA-256 that its header promises; it was damaged or changed");
  }
  return problems;
}

TokenFileInfo believe(std::string_view bytes, const std::string& name, Parts& parts) {
  require_magic(bytes, name);
  TokenFileInfo info;
  const std::vector<std::string> problems = problems_of(bytes, parts, info);
  if (!problems.empty()) reject(Failure::kData, name, ": ", problems.front());
  return info;
}

}  // namespace

std::string token_file_digest(std::string_view bytes) {
  CHECK(bytes.size() >= sizeof(Header));
  Sha256 hash;
  hash.update(bytes.data(), kTokenFileDigest);
  hash.update(bytes.data() + sizeof(Header), bytes.size() - sizeof(Header));
  return from_hex(hash.hex());
}

std::vector<std::string> token_file_problems(std::string_view bytes, TokenFileInfo& info) {
  Parts parts{};
  return problems_of(bytes, parts, info);
}

void parse_token_file(std::string_view bytes, const std::string& name, const Tokenizer& tokenizer,
                      Documents& out) {
  Parts parts{};
  const TokenFileInfo info = believe(bytes, name, parts);
  if (info.tokenizer != tokenizer.fingerprint() || info.vocab_size != tokenizer.vocab_size() ||
      info.bos != tokenizer.bos() || info.eos != tokenizer.eos()) {
    reject(Failure::kData, name, ": was made with tokenizer ", info.tokenizer, " (",
           info.vocab_size, " ids), not with ", tokenizer.fingerprint(), " (",
           tokenizer.vocab_size(), " ids); change data.tokenizer or prepare it again");
  }
  const auto base = static_cast<std::int64_t>(out.tokens.size());
  out.tokens.resize(out.tokens.size() + static_cast<std::size_t>(info.tokens));
  for (std::int64_t i = 0; i < info.tokens; ++i) {
    out.tokens[static_cast<std::size_t>(base + i)] =
        static_cast<std::int32_t>(parts.token(static_cast<std::uint64_t>(i)));
  }
  for (std::int64_t d = 1; d <= info.documents; ++d) {
    out.begin.push_back(base +
                        static_cast<std::int64_t>(parts.offset(static_cast<std::uint64_t>(d))));
  }
}

TokenFileInfo read_token_file_info(const std::string& path) {
  Parts parts{};
  return believe(read_file(path), path, parts);
}

void read_token_file(const std::string& path, const Tokenizer& tokenizer, Documents& out) {
  parse_token_file(read_file(path), path, tokenizer, out);
}

bool is_token_file(const std::string& path) {
  return read_file(path, Failure::kData, kTokenFileMagic.size()) == kTokenFileMagic;
}

std::vector<std::string> verify_token_file(const std::string& path) {
  const std::string bytes = read_file(path);
  require_magic(bytes, path);
  TokenFileInfo info;
  return token_file_problems(bytes, info);
}

void write_token_file(const std::string& path, const Documents& documents,
                      const std::vector<std::int64_t>& order, const Tokenizer& tokenizer) {
  Header h{};
  std::memcpy(h.magic, kTokenFileMagic.data(), kTokenFileMagic.size());
  h.version = kVersion;
  h.vocab_size = static_cast<std::uint64_t>(tokenizer.vocab_size());
  h.token_bytes = h.vocab_size <= 65536 ? 2 : 4;
  h.bos = static_cast<std::uint32_t>(tokenizer.bos());
  h.eos = static_cast<std::uint32_t>(tokenizer.eos());
  h.documents = order.size();
  const std::string fingerprint = tokenizer.fingerprint();
  CHECK(fingerprint.size() <= kFingerprintBytes, "token file: fingerprint ", fingerprint);
  std::memcpy(h.tokenizer, fingerprint.data(), fingerprint.size());

  std::string bytes(sizeof(Header), '\0');
  const auto append = [&bytes](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  append(h.tokens);  // the first document begins at 0
  for (const std::int64_t d : order) {
    h.tokens += documents.document(d).size();
    append(h.tokens);
  }
  bytes.reserve(bytes.size() + h.tokens * h.token_bytes);
  for (const std::int64_t d : order) {
    for (const std::int32_t id : documents.document(d)) {
      if (h.token_bytes == 2) {
        append(static_cast<std::uint16_t>(id));
      } else {
        append(id);
      }
    }
  }
  std::memcpy(bytes.data(), &h, sizeof(Header));
  bytes.replace(kTokenFileDigest, kDigestBytes, token_file_digest(bytes));
  replace_file(path, bytes);
}

}  // namespace shoal
