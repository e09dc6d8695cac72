#include "autograd/base/quantity.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>

namespace shoal {
namespace {

// fmt writes 3.0e-04; the sign and the leading zeros of an exponent only cost width.
std::string with_short_exponent(std::string text) {
  const std::size_t e = text.find('e');
  if (e == std::string::npos) return text;
  std::size_t digits = e + 1;
  if (text[digits] == '+') text.erase(digits, 1);
  if (text[digits] == '-') ++digits;
  while (digits + 1 < text.size() && text[digits] == '0') text.erase(digits, 1);
  return text;
}

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e11) return "-";
  const auto all = static_cast<std::int64_t>(std::llround(seconds));
  const std::int64_t days = all / 86400, hours = all / 3600 % 24, minutes = all / 60 % 60;
  if (days > 0) return fmt::format("{}d {:02}:{:02}:{:02}", days, hours, minutes, all % 60);
  return fmt::format("{}:{:02}:{:02}", hours, minutes, all % 60);
}

std::string format_step_time(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  if (seconds < 0.01) return fmt::format("{:.2f} ms", seconds * 1e3);
  if (seconds < 10.0) return fmt::format("{:.0f} ms", seconds * 1e3);
  return fmt::format("{:.1f} s", seconds);
}

std::string format_count(double count) {
  if (!std::isfinite(count)) return fmt::format("{}", count);
  constexpr const char* kSuffix[] = {"", "k", "M", "G", "T", "P"};
  int power = 0;
  double value = std::fabs(count);
  // 999.5 of a unit would be printed as 1000 of it.
  while (value >= 999.5 && power < 5) {
    value /= 1000.0;
    ++power;
  }
  const char* sign = count < 0 ? "-" : "";
  if (power == 0) {
    const bool whole = value == std::floor(value);
    return fmt::format("{}{:.{}f}", sign, value, whole || value >= 99.95 ? 0 : 1);
  }
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{}{:.{}f}{}", sign, value, decimals, kSuffix[power]);
}

std::string format_scientific(double value) {
  return with_short_exponent(fmt::format("{:.1e}", value));
}

std::string format_share(double share) {
  const double percent = share * 100.0;
  if (std::fabs(percent) < 1.0) return format_short(percent, 2) + " %";
  return fmt::format("{:.1f} %", percent);
}

std::string format_short(double value, int digits) {
  return with_short_exponent(fmt::format("{:.{}g}", value, digits));
}

}  // namespace shoal
