#include "data/file_kind.h"

#include <algorithm>
#include <array>

#include "autograd/base/check.h"
#include "autograd/base/utf8.h"

namespace shoal {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::string_view bytes;
  std::string_view what;
  std::size_t at = 0;
};

// First bytes of files that people name by mistake.
constexpr std::array kMagic = {
    Magic{"\x1F\x8B"sv, "compressed with gzip: unpack it first, gunzip -k "},
    Magic{"\x28\xB5\x2F\xFD"sv, "compressed with zstd: unpack it first, unzstd "},
    Magic{"\xFD"
          "7zXZ\0"sv,
          "compressed with xz: unpack it first, unxz -k "},
    Magic{"BZh"sv, "compressed with bzip2: unpack it first, bunzip2 -k "},
    Magic{"\x04\x22\x4D\x18"sv, "compressed with lz4: unpack it first, unlz4 "},
    Magic{"\x1F\x9D"sv, "compressed: unpack it first, uncompress "},
    Magic{"PK\x03\x04"sv, "a zip archive: unpack it first, unzip "},
    Magic{"7z\xBC\xAF\x27\x1C"sv, "a 7z archive: unpack it first, 7z x "},
    Magic{"Rar!\x1A\x07"sv, "a rar archive: unpack it first, unrar x "},
    Magic{"ustar"sv, "a tar archive: unpack it first, tar -xf ", 257},
    Magic{"%PDF-"sv, "a PDF file, not text: take its text out, pdftotext "},
    Magic{"PAR1"sv, "a Parquet file, not text: write its texts as JSON lines"},
    Magic{"ARROW1"sv, "an Arrow file, not text: write its texts as JSON lines"},
    Magic{"\x89HDF\r\n\x1A\n"sv, "an HDF5 file, not text"},
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

// bzip2's three letters may begin a text; a level and the magic of its first block do not.
bool is_bzip2(std::string_view bytes) {
  return bytes.size() > 10 && bytes[3] >= '1' && bytes[3] <= '9' &&
         bytes.substr(4, 6) == "1AY&SY"sv;
}

// Without a byte order mark: every other byte of its Latin letters is zero.
const char* guess_utf16(std::string_view bytes) {
  const std::size_t size = std::min<std::size_t>(bytes.size(), 4096) / 2 * 2;
  std::size_t zeros[2] = {0, 0};
  for (std::size_t i = 0; i < size; ++i) zeros[i % 2] += bytes[i] == '\0' ? 1 : 0;
  if (zeros[1] * 4 > size && zeros[0] * 16 < size) return "UTF-16LE";
  if (zeros[0] * 4 > size && zeros[1] * 16 < size) return "UTF-16BE";
  return nullptr;
}

// Bytes that no text has, more than one in twenty of the first ones.
bool is_full_of_controls(std::string_view bytes) {
  const std::string_view some = bytes.substr(0, 4096);
  const auto controls = std::count_if(some.begin(), some.end(), [](char c) {
    const auto b = static_cast<unsigned char>(c);
    return (b < 0x20 && !(b >= '\b' && b <= '\r') && b != 0x1B) || b == 0x7F;
  });
  return static_cast<std::size_t>(controls) * 20 > some.size();
}

std::int64_t line_of(std::string_view text, std::size_t at) {
  return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
}

}  // namespace

FileKind kind_of(const std::string& name) {
  const std::string n = lower(name);
  if (n.ends_with(".jsonl") || n.ends_with(".ndjson")) return FileKind::kJsonLines;
  if (n.ends_with(".json")) return FileKind::kJson;
  if (n.ends_with(".tokens")) return FileKind::kTokens;
  return FileKind::kText;
}

bool claims_text(const std::string& name) {
  std::string n = lower(name);
  for (const char* packed : {".gz", ".zst", ".xz", ".bz2", ".lz4", ".zip"}) {
    if (n.ends_with(packed)) n.resize(n.rfind('.'));
  }
  return n.ends_with(".txt") || kind_of(n) == FileKind::kJsonLines;
}

std::string why_not_text(std::string_view bytes, const std::string& name) {
  for (const Magic& magic : kMagic) {
    if (bytes.size() <= magic.at || !bytes.substr(magic.at).starts_with(magic.bytes)) continue;
    if (magic.bytes == "BZh"sv && !is_bzip2(bytes)) continue;
    return concat(": is ", magic.what, magic.what.ends_with(' ') ? name : "");
  }
  const auto convert = [&name](const char* from) {
    return concat("convert it: iconv -f ", from, " -t UTF-8 ", name);
  };
  const std::size_t invalid = find_invalid_utf8(bytes);
  const std::size_t zero = bytes.find('\0');
  if (invalid != kValidUtf8 || zero != bytes.npos) {
    if (bytes.starts_with("\xFF\xFE\0\0"sv)) return ": is not UTF-8 text; " + convert("UTF-32");
    if (bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF")) {
      return ": is not UTF-8 text; " + convert("UTF-16");
    }
    if (const char* utf16 = guess_utf16(bytes)) return ": is not UTF-8 text; " + convert(utf16);
    if (zero != bytes.npos) {
      return concat(':', line_of(bytes, zero), ": is not text: it has a zero byte (byte ", zero,
                    " of the file)");
    }
    if (is_full_of_controls(bytes)) return ": is not text: it is full of control characters";
    return concat(':', line_of(bytes, invalid), ": not UTF-8 text (byte ", invalid,
                  " of the file); ", convert("LATIN1"), ", or whichever encoding it has");
  }
  const std::size_t cr = bytes.find('\r');
  if (cr != bytes.npos && cr + 1 < bytes.size() && bytes.find('\n') == bytes.npos) {
    return concat(
        ": has CR alone as line ends, so its blank lines and lines are not seen; convert "
        "it: tr '\\r' '\\n' < ",
        name);
  }
  return "";
}

}  // namespace shoal
