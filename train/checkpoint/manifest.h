#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace shoal {

// What the program says of itself beside a checkpoint. Anything that may differ between two runs
// that are equal otherwise (times, paths, file offsets) belongs here and not into the state.
struct ManifestInfo {
  std::string program;           // "shoal 0.1.0"
  std::string data_fingerprint;  // of corpus and tokenizer; "" if there is none
  std::string cpu_features;      // with world size: bits are promised only for equal ones
  std::map<std::string, std::string> notes;
};

// manifest.json: which files make the checkpoint, and how to know that they are whole.
struct Manifest {
  struct File {
    std::string name;  // plain: no '/', not "." or ".."
    std::uint64_t bytes = 0;
    std::string sha256;
    bool operator==(const File&) const = default;
  };

  std::int64_t step = 0;
  std::int64_t tokens = 0;
  std::string created;        // "2025-01-31T12:00:00Z"
  std::string config_sha256;  // of the config text in the state
  ManifestInfo info;
  std::vector<File> files;

  const File* find(std::string_view name) const;
};

inline constexpr int kManifestFormat = 1;
inline constexpr std::size_t kMostManifestBytes = std::size_t{1} << 20;
inline constexpr const char* kManifestName = "manifest.json";
inline constexpr const char* kStateName = "state.h5";

// JSON whose last entry is the SHA-256 of all lines before it.
std::string manifest_text(const Manifest& manifest);

// Reads exactly what manifest_text writes: Error(kData), opening with `where`, for a broken
// checksum, a newer format, missing, unknown, repeated or mistyped keys, names with a path in them,
// absurd numbers. Control characters in texts come back as '?'.
Manifest parse_manifest(std::string_view text, const std::string& where);

// `body` (all lines before the last entry) closed with its checksum; for tests that forge
// manifests.
std::string seal_manifest(std::string body);

}  // namespace shoal
