#include "tests/train/checkpoint/faulty_io.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"

namespace shoal {
namespace {

constexpr std::size_t kPiece = 256;  // bytes a write operation takes
constexpr std::size_t kSector = 64;  // bytes that a crash keeps, drops or spoils together

[[noreturn]] void fail(const std::string& path, int error) {
  reject(Failure::kDisk, path, ": ", std::strerror(error));
}

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : rng_(seed, Purpose::kTest) {}
  std::uint64_t below(std::uint64_t n) { return rng_.below(index_++, n); }

 private:
  Rng rng_;
  std::uint64_t index_ = 0;
};

}  // namespace

struct FaultyIo::Node {
  // A change of names since the last sync. Renaming is one change: both names or neither.
  struct Change {
    std::string gone;  // "" if nothing goes
    std::string came;  // "" if nothing comes
    NodePtr node;
  };
  bool folder = false;
  std::string data, synced_data;                       // of a file
  std::map<std::string, NodePtr> names, synced_names;  // of a folder
  std::vector<Change> changes;
};

// ---- The crash ---------------------------------------------------------------------------------

namespace {

std::string scrambled(const std::string& synced, const std::string& now, Dice& dice) {
  std::string left = now.substr(0, dice.below(now.size() + 1));  // the length comes first or last
  if (dice.below(2) == 0) left.resize(now.size(), '\0');
  for (std::size_t at = 0; at < left.size(); at += kSector) {
    const std::size_t end = std::min(at + kSector, left.size());
    switch (dice.below(4)) {
      case 0:
        std::fill(left.begin() + at, left.begin() + end, '\0');
        break;
      case 1:
        for (std::size_t i = at; i < end; ++i) left[i] = static_cast<char>(dice.below(256));
        break;
      case 2:
        for (std::size_t i = at; i < end; ++i) left[i] = i < synced.size() ? synced[i] : '\0';
        break;
      default:
        break;  // this sector was written in time
    }
  }
  return left;
}

}  // namespace

void FaultyIo::restart(Unsynced unsynced, std::uint64_t seed) {
  Dice dice(seed);
  std::set<Node*> seen;
  const std::function<void(Node&)> settle = [&](Node& node) {
    if (!seen.insert(&node).second) return;
    if (unsynced == Unsynced::kDropped) {
      node.data = node.synced_data;
      node.names = node.synced_names;
    } else if (unsynced == Unsynced::kScrambled) {
      if (node.data != node.synced_data) node.data = scrambled(node.synced_data, node.data, dice);
      // Any subset of the changes, in their order, as far as they are possible without the others.
      auto names = node.synced_names;
      for (const Node::Change& change : node.changes) {
        if (dice.below(2) == 0) continue;
        if (!change.gone.empty() && !names.contains(change.gone)) continue;
        if (!change.came.empty() && names.contains(change.came)) continue;
        if (!change.gone.empty()) names.erase(change.gone);
        if (!change.came.empty()) names[change.came] = change.node;
      }
      node.names = names;
    }
    node.synced_data = node.data;
    node.synced_names = node.names;
    node.changes.clear();
    for (const auto& [name, child] : node.names) settle(*child);
  };
  settle(*root_);
  crashed_ = false;
  plan({});
}

// ---- The faults --------------------------------------------------------------------------------

FaultyIo::FaultyIo() : root_(std::make_shared<Node>()) { root_->folder = true; }
FaultyIo::~FaultyIo() = default;

FaultyIo::FaultyIo(const FaultyIo& other)
    : Io(), capacity(other.capacity), tells_free_bytes(other.tells_free_bytes) {
  std::map<const Node*, NodePtr> copies;
  const std::function<NodePtr(const NodePtr&)> copy = [&](const NodePtr& from) -> NodePtr {
    if (!from) return nullptr;
    NodePtr& to = copies[from.get()];
    if (to) return to;
    to = std::make_shared<Node>(*from);
    for (auto* names : {&to->names, &to->synced_names}) {
      for (auto& [name, child] : *names) child = copy(child);
    }
    for (Node::Change& change : to->changes) change.node = copy(change.node);
    return to;
  };
  root_ = copy(other.root_);
}

void FaultyIo::plan(const Fault& fault) {
  fault_ = fault;
  operations_ = 0;
  struck_ = false;
  log_.clear();
}

void FaultyIo::operation(const std::string& what, const std::string& path,
                         const std::function<void()>& effect) {
  if (crashed_) throw Crash();
  const int number = operations_++;
  log_.push_back(what + " " + path);
  const bool now = fault_.kind != Fault::Kind::kNone &&
                   (number == fault_.at || (fault_.forever && number > fault_.at));
  if (!now) return effect();
  struck_ = true;
  if (fault_.kind == Fault::Kind::kCrash) {
    crashed_ = true;
    throw Crash();
  }
  if (fault_.kind == Fault::Kind::kSpoil) return effect();
  if (fault_.done_anyway) effect();
  fail(path, fault_.error);
}

// ---- The tree ----------------------------------------------------------------------------------

std::pair<FaultyIo::NodePtr, std::string> FaultyIo::parent(const std::string& path) const {
  const std::size_t slash = path.find_last_of('/');
  CHECK(slash != path.npos, path);
  return {node(path.substr(0, slash)), path.substr(slash + 1)};
}

FaultyIo::NodePtr FaultyIo::node(const std::string& path) const {
  NodePtr at = root_;
  for (std::size_t from = 1; from < path.size() && at;) {
    const std::size_t to = std::min(path.find('/', from), path.size());
    const auto found = at->names.find(path.substr(from, to - from));
    at = found == at->names.end() ? nullptr : found->second;
    from = to + 1;
  }
  return at;
}

FaultyIo::NodePtr FaultyIo::need(const std::string& path, bool folder) const {
  NodePtr found = node(path);
  if (!found) fail(path, ENOENT);
  if (found->folder != folder) fail(path, folder ? ENOTDIR : EISDIR);
  return found;
}

std::uint64_t FaultyIo::used() const {
  std::uint64_t total = 0;
  for (const std::string& path : all_files()) total += node(path)->data.size();
  return total;
}

const std::string& FaultyIo::bytes(const std::string& path) const {
  return need(path, false)->data;
}

void FaultyIo::put(const std::string& path, const std::string& bytes) {
  NodePtr at = root_;
  for (std::size_t from = 1; from <= path.size();) {
    const std::size_t to = std::min(path.find('/', from), path.size());
    const std::string name = path.substr(from, to - from);
    NodePtr& next = at->names[name];
    if (!next) next = std::make_shared<Node>();
    next->folder = to < path.size();
    at->synced_names[name] = next;
    at = next;
    from = to + 1;
  }
  at->data = at->synced_data = bytes;
}

void FaultyIo::erase(const std::string& path) {
  const auto [folder, name] = parent(path);
  folder->names.erase(name);
  folder->synced_names.erase(name);
}

std::vector<std::string> FaultyIo::all_files() const {
  std::vector<std::string> files;
  const std::function<void(const Node&, const std::string&)> walk = [&](const Node& at,
                                                                        const std::string& path) {
    for (const auto& [name, child] : at.names) {
      if (child->folder) {
        walk(*child, path + "/" + name);
      } else {
        files.push_back(path + "/" + name);
      }
    }
  };
  walk(*root_, "");
  return files;
}

// ---- The interface -----------------------------------------------------------------------------

class FaultyIo::OpenFile : public Io::File {
 public:
  OpenFile(FaultyIo& io, std::string path, NodePtr node)
      : io_(io), path_(std::move(path)), node_(std::move(node)) {}

  void write(std::string_view bytes) override {
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, kPiece);
      io_.operation("write", path_, [&] {
        const std::uint64_t room = io_.capacity - std::min(io_.capacity, io_.used());
        node_->data += piece.substr(0, room);
        if (room < piece.size()) fail(path_, ENOSPC);
        const bool lies =
            io_.fault_.kind == Fault::Kind::kSpoil && io_.operations_ - 1 == io_.fault_.at;
        if (lies) node_->data.back() = static_cast<char>(node_->data.back() ^ 1);
      });
      bytes.remove_prefix(piece.size());
    }
  }
  void fsync() override {
    io_.operation("fsync", path_, [&] { node_->synced_data = node_->data; });
  }
  void close() override {
    io_.operation("close", path_, [] {});
  }

 private:
  FaultyIo& io_;
  std::string path_;
  NodePtr node_;
};

std::unique_ptr<Io::File> FaultyIo::create(const std::string& path) {
  NodePtr made;
  operation("create", path, [&] {
    const auto [folder, name] = parent(path);
    if (!folder) fail(path, ENOENT);
    if (folder->names.contains(name)) fail(path, EEXIST);
    made = folder->names[name] = std::make_shared<Node>();
    folder->changes.push_back({"", name, made});
  });
  return std::make_unique<OpenFile>(*this, path, made);
}

std::string FaultyIo::read(const std::string& path, std::uint64_t bytes) {
  std::string content;
  operation("read", path, [&] { content = need(path, false)->data; });
  if (content.size() != bytes) reject(Failure::kDisk, path, ": is ", content.size(), " bytes");
  return content;
}

std::uint64_t FaultyIo::size(const std::string& path) {
  std::uint64_t bytes = 0;
  operation("size", path, [&] { bytes = need(path, false)->data.size(); });
  return bytes;
}

void FaultyIo::rename(const std::string& from, const std::string& to) {
  operation("rename", from, [&] {
    const auto [folder, name] = parent(from);
    const auto [to_folder, to_name] = parent(to);
    CHECK(folder == to_folder, "renames stay in their folder");
    if (!node(from)) fail(from, ENOENT);
    // The system's rename would replace an empty folder; nobody here should want that.
    CHECK(!folder->names.contains(to_name), to, " is there already");
    const NodePtr moved = folder->names[name];
    folder->names.erase(name);
    folder->names[to_name] = moved;
    folder->changes.push_back({name, to_name, moved});
  });
}

void FaultyIo::fsync_folder(const std::string& path) {
  operation("fsync_folder", path, [&] {
    const NodePtr folder = need(path, true);
    folder->synced_names = folder->names;
    folder->changes.clear();
  });
}

void FaultyIo::mkdir(const std::string& path) {
  operation("mkdir", path, [&] {
    const auto [folder, name] = parent(path);
    if (!folder) fail(path, ENOENT);
    if (folder->names.contains(name)) fail(path, EEXIST);
    const NodePtr made = folder->names[name] = std::make_shared<Node>();
    made->folder = true;
    folder->changes.push_back({"", name, made});
  });
}

void FaultyIo::unlink(const std::string& path) {
  operation("unlink", path, [&] {
    (void)need(path, false);
    const auto [folder, name] = parent(path);
    folder->names.erase(name);
    folder->changes.push_back({name, "", nullptr});
  });
}

void FaultyIo::rmdir(const std::string& path) {
  operation("rmdir", path, [&] {
    if (!need(path, true)->names.empty()) fail(path, ENOTEMPTY);
    const auto [folder, name] = parent(path);
    folder->names.erase(name);
    folder->changes.push_back({name, "", nullptr});
  });
}

std::optional<std::vector<Io::Entry>> FaultyIo::list(const std::string& path,
                                                     Links /*it has none*/) {
  std::optional<std::vector<Entry>> entries;
  operation("list", path, [&] {
    const NodePtr folder = node(path);
    if (!folder || !folder->folder) return;
    entries.emplace();
    for (const auto& [name, child] : folder->names) entries->push_back({name, child->folder});
  });
  return entries;
}

std::optional<std::uint64_t> FaultyIo::free_bytes(const std::string& /*path*/) {
  if (crashed_) throw Crash();
  if (!tells_free_bytes) return std::nullopt;
  return capacity - std::min(capacity, used());
}

}  // namespace shoal
