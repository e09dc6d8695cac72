// export and import: Hugging Face model folders.
#include <spdlog/spdlog.h>

#include <iostream>

#include "train/cli/commands.h"
#include "train/cli/loaded_model.h"
#include "train/interop/export_model.h"
#include "train/interop/import_model.h"
#include "train/interop/new_folder.h"
#include "train/metrics/printable.h"

namespace shoal {

int export_command(const ExportArguments& args) {
  (void)NewFolder(args.folder);  // before a large checkpoint is read
  const LoadedModel loaded = load_model(args.run, {});
  const Exported done = export_model(*loaded.model, args.folder,
                                     loaded.config.data.tokenizer == "bytes", args.shard_bytes);
  for (const std::string& warning : done.warnings) spdlog::warn("{}", printable(warning));
  std::cout << printable(done.folder) << ": step " << loaded.step << ", " << done.tensors
            << " tensors, " << done.bytes << " bytes in " << done.weight_files.size()
            << (done.weight_files.size() == 1 ? " file\n" : " files\n");
  return 0;
}

int import_command(const ImportArguments& args) {
  const Imported done = import_model(args.folder, args.run);
  for (const std::string& warning : done.warnings) spdlog::warn("{}", printable(warning));
  std::cout << printable(done.run) << ": " << done.parameters << " parameters, step 0\n";
  return 0;
}

}  // namespace shoal
