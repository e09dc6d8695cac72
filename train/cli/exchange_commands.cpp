// export and import: Hugging Face model folders.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iostream>

#include "autograd/base/printable.h"
#include "train/cli/commands.h"
#include "train/cli/loaded_model.h"
#include "train/interop/export_model.h"
#include "train/interop/new_folder.h"
#include "train/plan/run_plan.h"
#include "train/run/import_run.h"

namespace shoal {

int export_command(const ExportArguments& args) {
  (void)NewFolder(args.folder);  // before a large checkpoint is read
  const LoadedModel loaded = load_model(args.run, {});
  const Exported done =
      export_model(*loaded.model, args.folder, loaded.config.data.tokenizer == "bytes",
                   args.shard_bytes, args.fp4);
  for (const std::string& warning : done.warnings) spdlog::warn("{}", printable(warning));
  const std::vector<AttentionKind>& layers = loaded.config.model.layer_types;
  const bool sparse =
      std::find(layers.begin(), layers.end(), AttentionKind::kCompressedSparse) != layers.end();
  const IndexerMode mode = RunPlan(loaded.config).at(loaded.step).indexer;
  if (sparse && mode != IndexerMode::kSparse) {
    spdlog::warn(
        "the indexers are in stage {} at step {}; others always look at index_topk entries",
        name_of(mode), loaded.step);
  }
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
