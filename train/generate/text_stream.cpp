#include "train/generate/text_stream.h"

#include <algorithm>
#include <utility>

#include "autograd/base/utf8.h"

namespace shoal {
namespace {

// Bytes at the end of `text` that begin a character and do not end it.
std::size_t unfinished_bytes(std::string_view text) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, text.size()); ++n) {
    std::string last(text.substr(text.size() - n));
    const auto lead = static_cast<unsigned char>(last[0]);
    if (lead >= 0x80 && lead < 0xC0) continue;  // inside of a character
    const std::size_t bytes = lead < 0xC2 || lead > 0xF4 ? 1
                              : lead < 0xE0              ? 2
                              : lead < 0xF0              ? 3
                                                         : 4;
    if (bytes <= n) return 0;
    if (n == 1) return 1;
    // Which second byte may come depends on the first; from the third on all are alike.
    last.resize(bytes, '\x80');
    return find_invalid_utf8(last) == kValidUtf8 ? n : 0;
  }
  return 0;
}

// Takes all but the last `keep` bytes out of `text`.
std::string take_front(std::string& text, std::size_t keep) {
  std::string kept = text.substr(text.size() - keep);
  text.resize(text.size() - keep);
  return std::exchange(text, std::move(kept));
}

}  // namespace

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string StopText::add(std::string_view piece) {
  if (found_) return "";
  held_ += piece;
  std::size_t end = std::string::npos, begun = 0;
  for (const std::string& stop : stops_) {
    end = std::min(end, held_.find(stop));
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > begun; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) begun = n;
    }
  }
  if (end == std::string::npos) return take_front(held_, begun);
  found_ = true;
  held_.resize(end);
  return std::exchange(held_, "");
}

std::string StopText::finish() { return std::exchange(held_, ""); }

std::string WholeCharacters::add(std::string_view piece) {
  held_ += piece;
  return take_front(held_, unfinished_bytes(held_));
}

std::string WholeCharacters::finish() { return std::exchange(held_, ""); }

}  // namespace shoal
