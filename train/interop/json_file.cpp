#include "train/interop/json_file.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/read_file.h"
#include "train/interop/safetensors_header.h"

namespace shoal {
namespace {

constexpr int kMaxDepth = 32;

}  // namespace

nlohmann::json parse_json_object(const std::string& text, const std::string& where) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, Event event, nlohmann::json& value) {
    if (depth > kMaxDepth) {
      reject(Failure::kData, where, ": more than ", kMaxDepth, " levels of brackets");
    }
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get<std::string>()).second) {
      reject(Failure::kData, where, ": key ", in_quotes(value.get<std::string>()),
             " appears twice");
    }
    return true;
  };
  if (text.find('\0') != std::string::npos) {
    reject(Failure::kData, where, ": is not JSON: it holds a zero byte");
  }
  try {
    nlohmann::json json = nlohmann::json::parse(text, watch);
    if (!json.is_object()) reject(Failure::kData, where, ": needs a JSON object");
    return json;
  } catch (const nlohmann::json::parse_error& error) {
    reject(Failure::kData, where, ": is not valid JSON at its byte ", error.byte);
  } catch (const nlohmann::json::exception&) {
    reject(Failure::kData, where, ": holds a number beyond what a double holds");
  }
}

nlohmann::json read_json_object(const std::string& path, std::size_t most) {
  const std::string text = read_file(path, Failure::kData, most + 1);
  if (text.size() > most) {
    reject(Failure::kData, path, ": is larger than ", most >> 20, " MiB");
  }
  return parse_json_object(text, path);
}

}  // namespace shoal
