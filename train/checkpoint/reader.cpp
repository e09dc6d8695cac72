#include "train/checkpoint/reader.h"

#include "autograd/base/check.h"
#include "autograd/base/sha256.h"
#include "train/checkpoint/hdf5_image.h"

namespace shoal {
namespace {

Manifest read_manifest(Io& io, const std::string& folder) {
  const std::string path = folder + "/" + kManifestName;
  const std::uint64_t bytes = io.size(path);
  if (bytes > kMostManifestBytes) {
    reject(Failure::kData, path, ": is ", bytes, " bytes, a manifest has at most ",
           kMostManifestBytes);
  }
  return parse_manifest(io.read(path, bytes), path);
}

}  // namespace

Manifest check_files(Io& io, const std::string& folder, std::string* state_image) {
  Manifest manifest = read_manifest(io, folder);
  // All sizes first: they cost nothing.
  for (const Manifest::File& file : manifest.files) {
    const std::string path = folder + "/" + file.name;
    const std::uint64_t bytes = io.size(path);
    if (bytes != file.bytes) {
      reject(Failure::kData, path, ": is ", bytes, " bytes, its manifest says ", file.bytes);
    }
  }
  for (const Manifest::File& file : manifest.files) {
    const std::string path = folder + "/" + file.name;
    std::string content = io.read(path, file.bytes);
    if (sha256_hex(content.data(), content.size()) != file.sha256) {
      reject(Failure::kData, path, ": damaged, its SHA-256 is not the one in ", kManifestName);
    }
    if (state_image != nullptr && file.name == kStateName) *state_image = std::move(content);
  }
  return manifest;
}

Checkpoint read_checkpoint(Io& io, const std::string& folder) {
  const std::string path = folder + "/" + kStateName;
  Checkpoint checkpoint;
  std::string image;
  checkpoint.manifest = check_files(io, folder, &image);
  checkpoint.state = parse_image(image, path);
  const Manifest& manifest = checkpoint.manifest;
  const LoadedState& state = checkpoint.state;
  if (state.step != manifest.step || state.tokens != manifest.tokens) {
    reject(Failure::kData, path, ": is of step ", state.step, " and ", state.tokens,
           " tokens, its manifest of step ", manifest.step, " and ", manifest.tokens);
  }
  if (sha256_hex(state.config.data(), state.config.size()) != manifest.config_sha256) {
    reject(Failure::kData, path, ": holds another config than its manifest says");
  }
  return checkpoint;
}

}  // namespace shoal
