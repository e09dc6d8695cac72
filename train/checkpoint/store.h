#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/checkpoint/io.h"
#include "train/checkpoint/manifest.h"
#include "train/checkpoint/reader.h"
#include "train/checkpoint/state.h"

namespace shoal {

struct Found {
  std::int64_t step = 0;
  std::string path;
};

struct SaveReport {
  std::string path;
  std::uint64_t bytes = 0;            // of all files
  bool was_there = false;             // the same state of this step, verified: nothing written
  std::vector<std::string> warnings;  // an old one that could not be deleted
};

struct LoadReport {
  std::string path;
  Manifest manifest;
  std::vector<std::string> warnings;  // newer ones that were passed over: which file, why, and
                                      // how many steps are lost by it
};

// The checkpoints of one run: folders step-NNNNNNNN in RUN/checkpoints.
//
// Whatever happens during a save - a crash at any point, a full disk, an I/O error - a later load
// finds exactly the new state or the one before. A folder gets its name step-... by a rename when
// its bytes are on the disk and were read back, and loses it by a rename before its files are
// deleted. Other names: .tmp-step-... being written, .trash-step-... being deleted, .old-step-...
// replaced by a newer save of the same step; it counts until that one is in place.
//
// There is no pointer to the newest one: pointers can be newer than what they point at.
class CheckpointStore {
 public:
  CheckpointStore(Io& io, std::string folder);  // touches nothing

  // Removes what an interrupted save left. Only by the process that holds the run's lock: another
  // one's unfinished save looks the same.
  void clean_leftovers();

  // Saves the state as the checkpoint of its step and then deletes the oldest ones, so that `keep`
  // (at least 1) up to this step remain. Newer ones stay: they are of an earlier life of the run,
  // and are replaced when it gets there. Throws
  //   kNumbers  a value under /model or /optimizer is not finite (names the array): a healthy
  //             checkpoint must not be replaced by a sick one;
  //   kDisk     not enough space, or any failed operation. Older checkpoints are untouched, the
  //             next save may work.
  SaveReport save(const StateView& state, const ManifestInfo& info, std::int64_t keep);

  // Removes the checkpoints of later steps, the newest first, and says which: a run that goes back
  // to `step` gives them up. Throws kDisk.
  std::vector<std::string> discard_after(std::int64_t step);

  std::vector<Found> list() const;  // newest first, by name; nothing is verified

  // The newest checkpoint that verifies, or that of `step` and no other. nullopt: there is none at
  // all. Error(kData): there are, but none can be used. `load_newest` fills the arrays of `into`
  // all or not at all; a whole checkpoint of another model is an Error, not a reason to step back.
  std::optional<LoadReport> load_newest(StateView& into,
                                        std::optional<std::int64_t> step = {}) const;
  struct Stored {
    LoadedState state;
    LoadReport report;
  };
  std::optional<Stored> read_newest(std::optional<std::int64_t> step = {}) const;

 private:
  std::string path_of(const char* prefix, std::int64_t step) const;
  bool there(const std::string& path) const;
  void make_folder();
  bool holds(const std::string& path, const Manifest::File& file) const;
  void write_synced(const std::string& path, std::string_view bytes);
  void write_folder(const std::string& folder, const Manifest& manifest, std::string image);
  void move_in(std::int64_t step);
  void discard(const std::string& path, std::int64_t step);
  void delete_old(std::int64_t step, std::int64_t keep, std::vector<std::string>& warnings);

  Io& io_;
  std::string folder_;
};

// For `shoal eval|generate|export RUN|CHECKPOINT`: a checkpoint's folder, or a run's (then as
// read_newest). Error(kData) if it is neither or holds none.
CheckpointStore::Stored read_stored(Io& io, const std::string& path,
                                    std::optional<std::int64_t> step = {});

}  // namespace shoal
