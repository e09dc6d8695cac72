#pragma once
#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "train/checkpoint/io.h"

namespace shoal {

// The machine stopped. Not an Error: nothing that cleans up after errors may run.
struct Crash {};

// What happens at the n-th operation (0-based).
struct Fault {
  enum class Kind { kNone, kCrash, kFail, kSpoil };  // kSpoil: a write that lies
  Kind kind = Kind::kNone;
  int at = 0;
  bool forever = false;      // kFail: this and all later operations
  int error = ENOSPC;        // kFail
  bool done_anyway = false;  // kFail: the operation took effect, and still says it failed
};

// What a crash leaves of what was never synced.
enum class Unsynced { kDropped, kKept, kScrambled };

// A file system in memory that remembers what was synced: a file's bytes by its fsync, names in a
// folder by the folder's. It counts operations (a write counts once per 256 bytes) and fails or
// crashes at a chosen one. After Crash every call throws it again, until restart().
class FaultyIo : public Io {
 public:
  struct Node;

  using Io::list;
  FaultyIo();
  ~FaultyIo() override;
  FaultyIo(const FaultyIo& other);  // a disk of its own with the same content, synced or not

  void plan(const Fault& fault);  // counting starts again at 0
  int operations() const { return operations_; }
  const std::vector<std::string>& log() const { return log_; }
  bool struck() const { return struck_; }                   // the fault was reached
  void restart(Unsynced unsynced, std::uint64_t seed = 0);  // after a crash, or as one

  // Behind the interface's back: nothing is counted, nothing fails.
  const std::string& bytes(const std::string& path) const;
  void put(const std::string& path, const std::string& bytes);  // synced, with its folders
  void erase(const std::string& path);
  std::vector<std::string> all_files() const;
  std::uint64_t capacity = ~std::uint64_t{0};  // bytes of all files; beyond it ENOSPC
  bool tells_free_bytes = true;

  std::unique_ptr<File> create(const std::string& path) override;
  std::string read(const std::string& path, std::uint64_t bytes) override;
  std::uint64_t size(const std::string& path) override;
  void rename(const std::string& from, const std::string& to) override;
  void fsync_folder(const std::string& path) override;
  void mkdir(const std::string& path) override;
  void unlink(const std::string& path) override;
  void rmdir(const std::string& path) override;
  std::optional<std::vector<Entry>> list(const std::string& path, Links links) override;
  std::optional<std::uint64_t> free_bytes(const std::string& path) override;

 private:
  class OpenFile;
  using NodePtr = std::shared_ptr<Node>;

  // Counts, then crashes, fails, or runs the effect (perhaps failing afterwards).
  void operation(const std::string& what, const std::string& path,
                 const std::function<void()>& effect);
  NodePtr node(const std::string& path) const;  // null if it is not there
  NodePtr need(const std::string& path, bool folder) const;
  std::pair<NodePtr, std::string> parent(const std::string& path) const;
  std::uint64_t used() const;

  NodePtr root_;
  Fault fault_;
  int operations_ = 0;
  bool struck_ = false;
  bool crashed_ = false;
  std::vector<std::string> log_;
};

}  // namespace shoal
