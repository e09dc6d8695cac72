#include "train/checkpoint/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/sha256.h"

namespace shoal {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kSealOpen = "  \"manifest_sha256\": \"";
constexpr std::string_view kSealClose = "\"\n}\n";
constexpr std::size_t kDigestChars = 64;
constexpr std::size_t kSealBytes = kSealOpen.size() + kDigestChars + kSealClose.size();
constexpr std::size_t kMostFiles = 4096;
constexpr int kMostManifestLevels = 4;

bool is_digest(std::string_view text) {
  return text.size() == kDigestChars && text.find_first_not_of("0123456789abcdef") == text.npos;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7F'; }

// What a file says may be shown on a terminal, which obeys control characters.
std::string without_controls(std::string text) {
  std::replace_if(text.begin(), text.end(), is_control, '?');
  return text;
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos &&
         std::none_of(name.begin(), name.end(), is_control);
}

// JSON lets a key come twice, and most readers then take the last one.
Json parse_strictly(std::string_view text) {
  std::vector<std::set<std::string>> open;
  const Json::parser_callback_t watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kMostManifestLevels) throw Error("nested too deep");
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto key = value.get<std::string>();
      if (!open.back().insert(key).second) throw Error(concat("key ", key, " is there twice"));
    }
    return true;
  };
  return Json::parse(text, watch);
}

// Takes keys out of an object one by one; what is left at the end is unknown.
class Fields {
 public:
  explicit Fields(const Json& object) : object_(object) {
    if (!object.is_object()) throw Error("not an object");
  }

  const Json& take(const std::string& key) {
    const auto at = object_.find(key);
    if (at == object_.end()) throw Error(concat("key ", key, " is missing"));
    taken_.insert(key);
    return *at;
  }
  std::string text(const std::string& key) {
    const Json& value = take(key);
    if (!value.is_string()) throw Error(concat("key ", key, " is no text"));
    return without_controls(value.get<std::string>());
  }
  std::string digest(const std::string& key) {
    std::string value = text(key);
    if (!is_digest(value)) throw Error(concat("key ", key, " is no SHA-256"));
    return value;
  }
  std::int64_t count(const std::string& key) {
    const Json& value = take(key);
    const bool fits =
        value.is_number_unsigned() && std::in_range<std::int64_t>(value.get<std::uint64_t>());
    if (!fits) throw Error(concat("key ", key, " is no count"));
    return value.get<std::int64_t>();
  }
  void done() const {
    for (const auto& item : object_.items()) {
      if (!taken_.contains(item.key())) throw Error(concat("key ", item.key(), " is unknown"));
    }
  }

 private:
  const Json& object_;
  std::set<std::string> taken_;
};

Manifest::File read_file_entry(const Json& json) {
  Fields fields(json);
  Manifest::File file;
  const Json& name = fields.take("name");
  if (!name.is_string() || !is_plain_name(name.get_ref<const std::string&>())) {
    throw Error("a file name that is not plain");
  }
  file.name = name.get<std::string>();
  file.bytes = static_cast<std::uint64_t>(fields.count("bytes"));
  file.sha256 = fields.digest("sha256");
  fields.done();
  return file;
}

Manifest read_fields(const Json& json) {
  Fields fields(json);
  const std::int64_t format = fields.count("format");
  if (format != kManifestFormat) {
    throw Error(concat("format ", format, ", this program knows ", kManifestFormat));
  }
  Manifest manifest;
  manifest.step = fields.count("step");
  manifest.tokens = fields.count("tokens");
  manifest.created = fields.text("created");
  manifest.config_sha256 = fields.digest("config_sha256");
  manifest.info.program = fields.text("program");
  manifest.info.data_fingerprint = fields.text("data_fingerprint");
  manifest.info.cpu_features = fields.text("cpu_features");
  const Json& notes = fields.take("notes");
  if (!notes.is_object()) throw Error("key notes is no object");
  for (const auto& note : notes.items()) {
    if (!note.value().is_string()) throw Error("a note that is no text");
    manifest.info.notes[without_controls(note.key())] =
        without_controls(note.value().get<std::string>());
  }
  const Json& files = fields.take("files");
  if (!files.is_array() || files.size() > kMostFiles) throw Error("key files is no short list");
  std::set<std::string> names;
  for (const Json& entry : files) {
    manifest.files.push_back(read_file_entry(entry));
    if (!names.insert(manifest.files.back().name).second) throw Error("a file is there twice");
  }
  (void)fields.digest("manifest_sha256");
  fields.done();
  if (manifest.find(kStateName) == nullptr) throw Error(concat("lists no ", kStateName));
  return manifest;
}

void check_seal(std::string_view text) {
  if (text.size() > kMostManifestBytes) throw Error("larger than a manifest ever is");
  const std::size_t body = text.size() < kSealBytes ? 0 : text.size() - kSealBytes;
  const std::string_view seal = text.substr(body);
  if (body == 0 || !seal.starts_with(kSealOpen) || !seal.ends_with(kSealClose)) {
    throw Error("its last line, the checksum, is missing");
  }
  if (seal.substr(kSealOpen.size(), kDigestChars) != sha256_hex(text.data(), body)) {
    throw Error("its checksum does not match");
  }
}

}  // namespace

const Manifest::File* Manifest::find(std::string_view name) const {
  const auto at =
      std::find_if(files.begin(), files.end(), [&](const File& file) { return file.name == name; });
  return at == files.end() ? nullptr : &*at;
}

std::string seal_manifest(std::string body) {
  const std::string digest = sha256_hex(body.data(), body.size());
  return std::move(body) + std::string(kSealOpen) + digest + std::string(kSealClose);
}

std::string manifest_text(const Manifest& manifest) {
  Json json;
  json["format"] = kManifestFormat;
  json["step"] = static_cast<std::uint64_t>(manifest.step);
  json["tokens"] = static_cast<std::uint64_t>(manifest.tokens);
  json["created"] = manifest.created;
  json["program"] = manifest.info.program;
  json["cpu_features"] = manifest.info.cpu_features;
  json["config_sha256"] = manifest.config_sha256;
  json["data_fingerprint"] = manifest.info.data_fingerprint;
  json["notes"] = Json::object();
  for (const auto& [key, value] : manifest.info.notes) json["notes"][key] = value;
  json["files"] = Json::array();
  for (const Manifest::File& file : manifest.files) {
    json["files"].push_back(
        Json{{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  // A note may be a path, and a path any bytes.
  std::string body = json.dump(2, ' ', false, Json::error_handler_t::replace);
  body.resize(body.size() - 2);  // the closing "\n}" comes with the checksum
  std::string text = seal_manifest(std::move(body) + ",\n");
  CHECK(text.size() <= kMostManifestBytes, "a manifest of ", text.size(), " bytes");
  return text;
}

Manifest parse_manifest(std::string_view text, const std::string& where) {
  try {
    check_seal(text);
    return read_fields(parse_strictly(text));
  } catch (const nlohmann::json::exception& error) {
    reject(Failure::kData, where, ": not a valid manifest: ", without_controls(error.what()));
  } catch (const Error& error) {
    reject(Failure::kData, where, ": not a valid manifest: ", without_controls(error.what()));
  }
}

}  // namespace shoal
